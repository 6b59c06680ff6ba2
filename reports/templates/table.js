"use strict";
// Cues for what is wider than the window; filter, sort and download for the table of trials.
// All text enters the page as textContent.
(() => {
  const MOST = 500;
  const cued = (place) => {
    const over = place.scrollWidth - place.clientWidth;
    place.classList.toggle("wide", over > 1);
    place.classList.toggle("before", place.scrollLeft > 1);
    place.classList.toggle("after", place.scrollLeft < over - 1);
  };
  const sizes = new ResizeObserver((entries) => entries.forEach((entry) => cued(entry.target)));
  for (const place of document.querySelectorAll(".scroll")) {
    place.addEventListener("scroll", () => cued(place), { passive: true });
    sizes.observe(place);
  }
  const table = document.getElementById("rows");
  const packed = document.getElementById("block");
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
  if (!table || !packed || typeof DecompressionStream === "undefined") return;
  const form = document.getElementById("filters");
  const shown = document.getElementById("shown");
  for (const part of document.querySelectorAll(".js")) part.hidden = false;

  let loading = null;
  let order = { column: null, down: true };
  const load = () => (loading ??= (async () => {
    const bytes = Uint8Array.from(atob(packed.textContent.replace(/\s/g, "")), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const data = JSON.parse(await new Response(stream).text());
    for (const select of form.querySelectorAll("select")) {
      for (const word of data.texts[select.name].words) {
        const option = document.createElement("option");
        option.value = option.textContent = word;
        select.append(option);
      }
    }
    return data;
  })());

  const text = (data, name, row) => String(data.texts[name].words[data.texts[name].codes[row]]);
  const number = (data, name, row) => data.numbers[name][row];
  const shape = (data, row) =>
    `b${text(data, "batch", row)} c${text(data, "classes", row)} t${text(data, "threads", row)}`;
  const digits = (value, count) => Number(value.toPrecision(count)).toString();
  const special = { nan: "NaN", inf: "+inf", "-inf": "-inf" };
  const written = (value, words) => (value === null ? "" : (special[value] ?? words(value)));
  const seconds = (value) => {
    const [scale, unit] =
      [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]].find(([least]) => value >= least) ?? [1e-9, "ns"];
    return `${digits(value / scale, 3)} ${unit}`;
  };
  const times = (value) => `${value.toFixed(2)}x`;
  const columns = [
    ...["suite", "variant", "regime", "dtype", "device"].map((name) => [name, (d, r) => text(d, name, r)]),
    ["shape", shape],
    ...["implementation", "status", "outcome"].map((name) => [name, (d, r) => text(d, name, r).replaceAll("_", " ")]),
    ["loss_ulps", (d, r) => written(number(d, "loss_ulps", r), (v) => digits(v, 2))],
    ["gradient_ulps", (d, r) => written(number(d, "gradient_ulps", r), (v) => digits(v, 2))],
    ["norm_error_median", (d, r) => written(number(d, "norm_error_median", r), (v) => (v === 0 ? "0" : v.toExponential(1)))],
    ["seconds", (d, r) => written(number(d, "seconds", r), seconds)],
    ["ratio", (d, r) => written(number(d, "ratio", r), times)],
    ["peak_multiple", (d, r) => written(number(d, "peak_multiple", r), times)],
    ["remarks", (d, r) => [text(d, "findings", r), text(d, "reason", r)].filter(Boolean).join("; ")],
  ];

  // NaN is worse than +inf, +inf than any number; what was not measured stays last either way.
  const size = (value) => ({ nan: Infinity, inf: Number.MAX_VALUE, "-inf": -Infinity })[value] ?? value;
  const compare = (data, column) => {
    if (column in data.numbers) {
      return (a, b) => {
        const [x, y] = [number(data, column, a), number(data, column, b)];
        if (x === null || y === null) return (x === null) - (y === null);
        return (size(x) - size(y) || 0) * (order.down ? -1 : 1);
      };
    }
    if (column === "shape") {
      const entries = (row) => text(data, "batch", row) * text(data, "classes", row);
      return (a, b) => (entries(a) - entries(b)) * (order.down ? -1 : 1);
    }
    const read = columns.find(([name]) => name === column)[1];
    return (a, b) => read(data, a).localeCompare(read(data, b)) * (order.down ? -1 : 1);
  };

  const selected = (data) => {
    const wanted = [...form.querySelectorAll("select")].filter((s) => s.value).map((s) => [s.name, s.value]);
    const words = form.elements.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [];
    for (let row = 0; row < data.rows; row += 1) {
      if (!wanted.every(([name, value]) => text(data, name, row) === value)) continue;
      if (words.length) {
        const all = columns.map(([, read]) => read(data, row)).join(" ").toLowerCase();
        if (!words.every((word) => all.includes(word))) continue;
      }
      rows.push(row);
    }
    return order.column === null ? rows : rows.sort(compare(data, order.column));
  };

  const draw = async () => {
    const data = await load();
    const rows = selected(data);
    const body = document.createElement("tbody");
    const numeric = new Set(Object.keys(data.numbers));
    for (const row of rows.slice(0, MOST)) {
      const line = body.insertRow();
      for (const [name, read] of columns) {
        const cell = name === "implementation" ? document.createElement("th") : document.createElement("td");
        if (name === "implementation") cell.scope = "row";
        if (numeric.has(name)) cell.className = "r";
        cell.textContent = read(data, row);
        line.append(cell);
      }
    }
    table.tBodies[0].replaceWith(body);
    table.caption.textContent = `Trials: ${Math.min(MOST, rows.length)} of ${rows.length} that match`;
    shown.value = `${rows.length.toLocaleString("en")} of ${data.rows.toLocaleString("en")} trials match`;
    return rows;
  };

  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const column = columns[place][0];
      order = { column, down: order.column === column ? !order.down : columns[place][0] in { loss_ulps: 0, gradient_ulps: 0, norm_error_median: 0, seconds: 0, ratio: 0, peak_multiple: 0 } };
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      draw();
    });
    head.replaceChildren(button);
  });
  // A page that had to leave its rows out gets them from the block.
  if (!table.tBodies[0].rows.length) draw();
  form.addEventListener("focusin", load, { once: true });
  form.addEventListener("pointerenter", load, { once: true });
  form.addEventListener("input", draw);
  form.addEventListener("submit", (event) => event.preventDefault());

  document.getElementById("download").addEventListener("click", async () => {
    const data = await load();
    const names = [...Object.keys(data.texts), ...Object.keys(data.numbers)];
    const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const lines = selected(data).map((row) =>
      names.map((name) => quoted(name in data.texts ? text(data, name, row) : String(number(data, name, row) ?? "")))
        .join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([[names.join(","), ...lines].join("\n")], { type: "text/csv" }));
    link.download = "lossgauge-rows.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
})();
