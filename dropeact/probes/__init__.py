"""The only code that touches a running model: what attention and the residual stream hold, what is changed there."""
