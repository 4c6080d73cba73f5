/* SPDX-License-Identifier: MIT */
/* flame.js - zoom and search in the flame graph of `gilscope report -f svg`.  Without it, it is a picture. */
(function () {
  "use strict";
  var svg = document.documentElement;
  var info = document.getElementById("info");
  var reset = document.getElementById("reset");
  var searchButton = document.getElementById("search");
  var hint = info.textContent;
  var left = 10, width = 1180, letter = 6.63;
  var typing = false, query = "";
  var frames = Array.prototype.map.call(document.querySelectorAll("g.f"), function (g) {
    var rect = g.querySelector("rect");
    var lines = g.querySelector("title").textContent.split("\n");
    return {
      g: g, rect: rect, text: g.querySelector("text"), label: lines[0], about: lines.join(" · "),
      x: (parseFloat(rect.getAttribute("x")) - left) / width, w: parseFloat(rect.getAttribute("width")) / width,
      y: parseFloat(rect.getAttribute("y")), panel: g.parentNode, ns: parseFloat(g.getAttribute("data-ns"))
    };
  });

  function cut(label, pixels) {
    var room = Math.floor((pixels - 6) / letter);
    if (room < 3) { return ""; }
    return label.length <= room ? label : label.slice(0, room - 1) + "…";
  }

  function place(frame, x, w) {
    var pixels = w * width;
    frame.rect.setAttribute("x", (left + x * width).toFixed(2));
    frame.rect.setAttribute("width", Math.max(pixels, 0.1).toFixed(2));
    frame.text.setAttribute("x", (left + x * width + 3).toFixed(2));
    frame.text.textContent = cut(frame.label, pixels);
  }

  function zoom(target) {
    frames.forEach(function (f) {
      if (f.panel !== target.panel) { return; }
      var isAbove = f.y < target.y && f.x <= target.x + 1e-9 && f.x + f.w >= target.x + target.w - 1e-9;
      var isIn = f.y >= target.y && f.x >= target.x - 1e-9 && f.x + f.w <= target.x + target.w + 1e-9;
      f.g.classList.toggle("hidden", !isAbove && !isIn);
      f.g.classList.toggle("above", isAbove);
      if (isAbove) { place(f, 0, 1); }
      if (isIn) { place(f, (f.x - target.x) / target.w, f.w / target.w); }
    });
    reset.classList.toggle("hidden", target.w > 0.9999);
  }

  function zoomOut() {
    frames.forEach(function (f) {
      f.g.classList.remove("hidden");
      f.g.classList.remove("above");
      place(f, f.x, f.w);
    });
    reset.classList.add("hidden");
  }

  /* Of what matches, what lies under another match is in it already. */
  function search() {
    var wanted = query.toLowerCase(), ns = 0, all = 0, ends = [];
    frames.forEach(function (f) {
      var found = wanted !== "" && f.label.toLowerCase().indexOf(wanted) >= 0;
      f.g.classList.toggle("found", found);
      if (f.g.getAttribute("data-root")) { all += f.ns; }
      if (!found) { return; }
      var inside = ends.some(function (e) {
        return e.panel === f.panel && e.y < f.y && e.x <= f.x + 1e-9 && e.x + e.w >= f.x + f.w - 1e-9;
      });
      if (!inside) { ends.push(f); ns += f.ns; }
    });
    searchButton.textContent = typing || query ? "search: " + query + (typing ? "▏" : "") : "search";
    info.textContent = wanted ? "matched: " + (all ? 100 * ns / all : 0).toFixed(1) + " %" : hint;
  }

  frames.forEach(function (f) {
    f.g.addEventListener("click", function () { zoom(f); });
    f.g.addEventListener("mouseover", function () { info.textContent = f.about; });
    f.g.addEventListener("focus", function () { info.textContent = f.about; });
    f.g.addEventListener("mouseout", function () { search(); });
    f.g.addEventListener("keydown", function (event) {
      if (event.key === "Enter" && !typing) { zoom(f); event.stopPropagation(); }
    });
  });
  reset.addEventListener("click", zoomOut);
  searchButton.addEventListener("click", function () { typing = true; query = ""; search(); });
  svg.addEventListener("keydown", function (event) {
    if (typing) {
      if (event.key === "Enter") { typing = false; }
      else if (event.key === "Escape") { typing = false; query = ""; }
      else if (event.key === "Backspace") { query = query.slice(0, -1); }
      else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey) { query += event.key; }
      else { return; }
    } else if (event.key === "/" || (event.key === "f" && (event.ctrlKey || event.metaKey))) {
      typing = true;
      query = "";
    } else if (event.key === "Escape") {
      query = "";
      zoomOut();
    } else {
      return;
    }
    event.preventDefault();
    search();
  });
  searchButton.classList.remove("hidden");
})();
