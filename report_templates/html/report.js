"use strict";
(() => {
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);

  // Filters: rows of the matrix and the articles below it.
  const form = one("filters");
  const matches = (item, wanted) =>
    wanted.verdicts.has(item.dataset.verdict) &&
    (!wanted.experiment || item.dataset.experiment === wanted.experiment) &&
    (!wanted.source || item.dataset.source === wanted.source) &&
    item.textContent.toLowerCase().includes(wanted.text);
  const filter = () => {
    const wanted = {
      verdicts: new Set(all("[name=verdict]:checked", form).map((box) => box.value)),
      experiment: form.elements.experiment.value,
      source: form.elements.source.value,
      text: form.elements.text.value.trim().toLowerCase(),
    };
    const rows = all("tr.item");
    const articles = all("article.item");
    rows.forEach((row, index) => {
      // The article has the statement too: a text found in either shows both.
      row.hidden = articles[index].hidden = !(matches(row, wanted) || matches(articles[index], wanted));
    });
    const left = rows.filter((row) => !row.hidden).length;
    one("shown").textContent = `${left} of ${rows.length} claims`;
    one("none").hidden = left > 0;
    all("section.experiment").forEach((part) => (part.hidden = all("article.item", part).every((claim) => claim.hidden)));
  };
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();

  // Charts: a slider reads the numbers of the table below; the pointer moves the slider.
  all("figure.chart").forEach((figure) => {
    const reader = figure.querySelector(".reader");
    const hair = figure.querySelector(".hair");
    const plot = figure.querySelector(".plot");
    const places = reader.dataset.at.split(" ").map(Number);
    const names = all("thead th", figure).map((cell) => cell.textContent);
    const rows = all("tbody tr", figure).map((row) => all("th, td", row).map((cell) => cell.textContent));
    const read = () => {
      const row = rows[reader.value];
      hair.hidden = false;
      hair.style.left = `${places[reader.value]}%`;
      const text = row.map((value, index) => `${names[index]} ${value}`).join(" · ");
      figure.querySelector(".readout").textContent = text;
      reader.setAttribute("aria-valuetext", text);
    };
    reader.setAttribute("aria-valuetext", names[0] + " " + rows[0][0]);
    reader.addEventListener("input", read);
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const at = (100 * (event.clientX - box.left)) / box.width;
      reader.value = places.reduce((best, place, index) => (Math.abs(place - at) < Math.abs(places[best] - at) ? index : best), 0);
      read();
    });
  });

  // Heat maps: colour and number say the same; a cell is read in every model at once.
  const maps = all("figure.heat");
  if (maps.length) {
    const scores = JSON.parse(one("scores").textContent);
    const cells = maps.map((map) => all("tbody tr", map).map((row) => all("td", row)));
    const names = maps.map((map) => map.querySelector("figcaption").textContent.split(":")[0].trim());
    cells.forEach((map, m) => map.forEach((row, l) => row.forEach((cell, h) => {
      const score = scores[m][l][h];
      if (score === null) return;
      cell.style.setProperty("--score", `${score}%`);
      cell.classList.add("scored");
      cell.classList.toggle("past46", score >= 46); // beyond these the other ink reads better: dark page, light page
      cell.classList.toggle("past66", score >= 66);
    })));
    const tau = one("tau");
    const outline = () => {
      one("tau-value").textContent = (tau.value / 100).toFixed(2);
      cells.forEach((map, m) => {
        let count = 0;
        map.forEach((row, l) => row.forEach((cell, h) => {
          const sink = scores[m][l][h] !== null && scores[m][l][h] >= Number(tau.value);
          cell.classList.toggle("sink", sink);
          count += sink;
        }));
        maps[m].querySelector(".sinks").textContent = `${count} of ${map.length * map[0].length} heads are sinks`;
      });
    };
    tau.addEventListener("input", outline);
    outline();
    const show = (l, h) => {
      all("td.same").forEach((cell) => cell.classList.remove("same"));
      const values = cells.flatMap((map, m) => {
        if (!map[l] || !map[l][h]) return [];
        map[l][h].classList.add("same");
        const score = scores[m][l][h];
        return [`${names[m]} ${score === null ? "not a number" : (score / 100).toFixed(2)}`];
      });
      one("cell").textContent = `Layer ${l}, head ${h}: ${values.join(" · ")}`;
    };
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    maps.forEach((map, m) => {
      const place = (cell) => [cell.parentNode.rowIndex - 1, cell.cellIndex - 1];
      map.addEventListener("pointerover", (event) => event.target.tagName === "TD" && show(...place(event.target)));
      map.addEventListener("focusin", (event) => event.target.tagName === "TD" && show(...place(event.target)));
      map.addEventListener("keydown", (event) => {
        if (!(event.key in moves) || event.target.tagName !== "TD") return;
        event.preventDefault();
        const [l, h] = place(event.target).map((value, index) => value + moves[event.key][index]);
        const next = cells[m][l] && cells[m][l][h];
        if (!next) return;
        event.target.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      });
    });
  }

  // Copy a command; where the clipboard is not to be had, select it.
  document.addEventListener("click", async (event) => {
    if (!event.target.classList.contains("copy")) return;
    const code = event.target.previousElementSibling;
    try {
      await navigator.clipboard.writeText(code.textContent);
      event.target.textContent = "Copied";
      setTimeout(() => (event.target.textContent = "Copy"), 1500);
    } catch {
      getSelection().selectAllChildren(code);
    }
  });

  // A linked claim is shown whatever the filters say; on paper every definition is open.
  const reveal = () => {
    const target = location.hash && one(decodeURIComponent(location.hash.slice(1)));
    if (target && target.closest("[hidden]")) {
      form.reset();
      setTimeout(() => target.scrollIntoView());
    }
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => all("article details").forEach((part) => (part.open = true)));
  document.documentElement.dataset.ready = "yes";
})();
