/* SPDX-License-Identifier: MIT */
/* report.js - the flame graphs of `gilscope report -f html`.  Names from the recording are only ever set as text. */
(function () {
  "use strict";
  var VIEWS = ["wait", "charged", "held", "released"];
  var TITLES = {
    wait: "Where threads wait for the GIL.",
    charged: "What ran while others waited for the GIL, by the time that they waited: what to change.",
    held: "What holds the GIL.",
    released: "What is done without the GIL: work in extensions, I/O, sleep."
  };
  var STRIDE = 12; /* node, thread, four times us and samples, us of held and released on a processor */
  var ROW = 19, NARROWEST = 1.2, TOP = 8;
  var ROLES = ["py", "ext", "ext", "sys", "sys", "sys"];

  function element(tag, name, text) {
    var e = document.createElement(tag);
    if (name) { e.className = name; }
    if (text !== undefined) { e.textContent = text; }
    return e;
  }

  function time(us) {
    var units = [[1e6, " s"], [1e3, " ms"], [1, " µs"]];
    for (var i = 0; i < units.length; i++) {
      if (us >= units[i][0] * 0.9995) {
        var value = us / units[i][0];
        if (i === 0 && value >= 600) { return Math.floor(value / 60) + " min " + Math.round(value % 60) + " s"; }
        return (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)) + units[i][1];
      }
    }
    return us > 0 ? "<1 µs" : "0 s";
  }

  function share(part, whole) {
    var percent = whole > 0 ? 100 * part / whole : 0;
    return percent > 0 && percent < 0.1 ? "<0.1 %" : percent.toFixed(1) + " %";
  }

  function shade(text) {
    var sum = 7;
    for (var i = 0; i < text.length; i++) { sum = (sum * 31 + text.charCodeAt(i)) % 9973; }
    return sum % 6;
  }

  /* The tree of a process: node i has parent[i], which is smaller than i, and what follows it up to end[i] is below. */
  function Tree(data) {
    var n = data.nodes.length / 2, i;
    this.n = n;
    this.data = data;
    this.parent = new Int32Array(n);
    this.what = new Int32Array(n);
    this.depth = new Int32Array(n);
    this.end = new Int32Array(n);
    this.children = [];
    for (i = 0; i < n; i++) {
      this.parent[i] = data.nodes[2 * i];
      this.what[i] = data.nodes[2 * i + 1];
      this.depth[i] = i ? this.depth[this.parent[i]] + 1 : 0;
      this.end[i] = i + 1;
      this.children.push([]);
      if (i) { this.children[this.parent[i]].push(i); }
    }
    for (i = n - 1; i > 0; i--) {
      this.end[this.parent[i]] = Math.max(this.end[this.parent[i]], this.end[i]);
    }
  }

  Tree.prototype.name = function (i) {
    var what = this.what[i];
    return what === -1 ? "all" : what === -2 ? "(small branches)" : this.data.functions[what][0];
  };

  Tree.prototype.place = function (i) {
    var f = this.what[i] >= 0 ? this.data.functions[this.what[i]] : null;
    var file = f ? this.data.files[f[1]] : "";
    return file ? file + (f[2] ? ":" + f[2] : "") : "";
  };

  Tree.prototype.label = function (i) {
    var place = this.place(i);
    return place ? this.name(i) + " (" + place.slice(place.lastIndexOf("/") + 1) + ")" : this.name(i);
  };

  /* Adds up what is asked for: own and total time, and samples, of each node. */
  Tree.prototype.add = function (view, thread, cpu) {
    var column = VIEWS.indexOf(view), selfs = this.data.selfs, i;
    var onColumn = view === "held" ? 10 : view === "released" ? 11 : -1;
    this.own = new Float64Array(this.n);
    this.total = new Float64Array(this.n);
    this.on = new Float64Array(this.n);
    this.samples = new Float64Array(this.n);
    for (i = 0; i < selfs.length; i += STRIDE) {
      if (thread >= 0 && selfs[i + 1] !== thread) { continue; }
      var us = selfs[i + 2 + 2 * column], on = onColumn < 0 ? 0 : selfs[i + onColumn], node = selfs[i];
      if (onColumn >= 0 && cpu !== "all") { us = cpu === "on" ? on : us - on; }
      this.own[node] += us;
      this.on[node] += on;
      this.samples[node] += us > 0 ? selfs[i + 3 + 2 * column] : 0;
    }
    this.total.set(this.own);
    for (i = this.n - 1; i > 0; i--) {
      this.total[this.parent[i]] += this.total[i];
      this.on[this.parent[i]] += this.on[i];
      this.samples[this.parent[i]] += this.samples[i];
    }
  };

  function Flames(section) {
    var self = this, find = function (selector) { return section.querySelector(selector); };
    this.tree = new Tree(JSON.parse(find("script").textContent));
    this.graph = find(".graph");
    this.detail = find(".detail");
    this.what = find(".what");
    this.top = find(".top");
    this.out = find(".out");
    this.cpu = find(".cpu");
    this.thread = find(".threads");
    this.search = find(".search");
    this.buttons = Array.prototype.slice.call(section.querySelectorAll(".views button"));
    this.view = section.getAttribute("data-view");
    this.zoomed = 0;
    this.shown = {};
    this.listThreads();
    this.buttons.forEach(function (button, i) {
      button.addEventListener("click", function () { self.setView(button.getAttribute("data-view")); });
      button.addEventListener("keydown", function (event) {
        var step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (!step) { return; }
        var next = self.buttons[(i + step + self.buttons.length) % self.buttons.length];
        next.focus();
        self.setView(next.getAttribute("data-view"));
        event.preventDefault();
      });
    });
    this.cpu.addEventListener("change", function () { self.update(); });
    this.thread.addEventListener("change", function () { self.update(); });
    this.search.addEventListener("input", function () { self.mark(); });
    this.search.addEventListener("keydown", function (event) {
      if (event.key === "Escape") { self.search.value = ""; self.mark(); }
    });
    this.out.addEventListener("click", function () { self.zoom(0, true); });
    this.listen();
    find(".tools").hidden = false;
    this.setView(this.view);
  }

  Flames.prototype.listThreads = function () {
    var sums = {}, selfs = this.tree.data.selfs, select = this.thread;
    for (var i = 0; i < selfs.length; i += STRIDE) { sums[selfs[i + 1]] = true; }
    this.tree.data.threads.forEach(function (name, number) {
      if (!sums[number]) { return; }
      var option = element("option", "", name);
      option.value = String(number);
      select.appendChild(option);
    });
  };

  /* One listener of each kind on the graph serves all frames. */
  Flames.prototype.listen = function () {
    var self = this, node = function (event) {
      var f = event.target.closest(".f");
      return f ? Number(f.getAttribute("data-i")) : -1;
    };
    this.graph.addEventListener("click", function (event) {
      if (node(event) >= 0) { self.zoom(node(event), true); }
    });
    this.graph.addEventListener("mouseover", function (event) {
      if (node(event) >= 0) { self.tell(node(event)); }
    });
    this.graph.addEventListener("mouseleave", function () { self.tell(self.zoomed); });
    this.graph.addEventListener("focusin", function (event) {
      if (node(event) >= 0) { self.tell(node(event)); }
    });
    this.graph.addEventListener("keydown", function (event) {
      var at = node(event), to = -1;
      if (at < 0) { return; }
      if (event.key === "Enter" || event.key === " ") { self.zoom(at, true); }
      else if (event.key === "Escape") { self.zoom(0, true); }
      else if (event.key === "ArrowUp") { to = self.tree.parent[at]; }
      else if (event.key === "ArrowDown") { to = self.visibleChildren(at)[0]; }
      else if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        var row = self.visibleChildren(self.tree.parent[at]);
        to = row[row.indexOf(at) + (event.key === "ArrowRight" ? 1 : -1)];
      } else { return; }
      event.preventDefault();
      if (to >= 0) { self.focus(to); }
    });
  };

  Flames.prototype.setView = function (view) {
    this.view = view;
    this.buttons.forEach(function (button) {
      var checked = button.getAttribute("data-view") === view;
      button.setAttribute("aria-checked", String(checked));
      button.tabIndex = checked ? 0 : -1;
    });
    this.cpu.disabled = view !== "held" && view !== "released";
    this.update();
  };

  Flames.prototype.update = function () {
    var cpu = this.cpu.disabled ? "all" : this.cpu.value;
    this.tree.add(this.view, Number(this.thread.value), cpu);
    if (!(this.tree.total[this.zoomed] > 0)) { this.zoomed = 0; }
    this.what.textContent = TITLES[this.view];
    this.zoom(this.zoomed, false);
  };

  Flames.prototype.sorted = function (i) {
    var tree = this.tree;
    return tree.children[i].filter(function (c) { return tree.total[c] > 0; }).sort(function (a, b) {
      var restA = tree.what[a] === -2, restB = tree.what[b] === -2;
      return restA !== restB ? restA - restB : tree.total[b] - tree.total[a] || a - b;
    });
  };

  Flames.prototype.visibleChildren = function (i) {
    var shown = this.shown;
    return this.sorted(i).filter(function (c) { return shown[c]; });
  };

  Flames.prototype.zoom = function (i, keepFocus) {
    var hadFocus = keepFocus && this.graph.contains(document.activeElement);
    this.zoomed = i;
    this.out.disabled = i === 0;
    this.draw();
    this.mark();
    this.listTop();
    this.tell(i);
    if (hadFocus) { this.focus(i); }
  };

  /* The way to the zoomed node on top, full width; below it what it called. */
  Flames.prototype.draw = function () {
    var tree = this.tree, page = document.createDocumentFragment(), pixels = this.graph.clientWidth || 1100;
    var rows = 0, above = [], todo = [[this.zoomed, 0, 1]], all = tree.total[this.zoomed];
    this.shown = {};
    for (var p = this.zoomed; p > 0;) { p = tree.parent[p]; above.unshift(p); }
    for (var a = 0; a < above.length; a++) { this.put(page, above[a], 0, 1, pixels, true); }
    while (todo.length && all > 0) {
      var item = todo.pop(), x = item[1];
      this.put(page, item[0], x, item[2], pixels, false);
      rows = Math.max(rows, tree.depth[item[0]] + 1);
      this.sorted(item[0]).forEach(function (child) {
        var width = tree.total[child] / all;
        if (width * pixels >= NARROWEST) { todo.push([child, x, width]); }
        x += width;
      });
    }
    if (!rows) { page.appendChild(element("p", "note", "Nothing was sampled in this view.")); }
    this.graph.textContent = "";
    this.graph.style.height = rows ? rows * ROW + "px" : "";
    this.graph.appendChild(page);
    if (this.shown[this.zoomed]) { this.shown[this.zoomed].tabIndex = 0; }
  };

  Flames.prototype.put = function (page, i, x, width, pixels, isAbove) {
    var tree = this.tree, what = tree.what[i], label = tree.label(i), kind = what === -1 ? "all" : "rest";
    if (what >= 0) { kind = ROLES[tree.data.functions[what][3]]; }
    var f = element("div", "f " + kind + (isAbove ? " above" : ""), width * pixels < 22 ? "" : label);
    if (width * pixels < 22) { f.classList.add("narrow"); }
    f.style.left = (100 * x).toFixed(3) + "%";
    f.style.width = (100 * width).toFixed(3) + "%";
    f.style.top = tree.depth[i] * ROW + "px";
    f.style.setProperty("--k", String(shade(label)));
    f.tabIndex = -1;
    f.setAttribute("data-i", String(i));
    f.setAttribute("role", "treeitem");
    f.setAttribute("aria-level", String(tree.depth[i] + 1));
    f.setAttribute("aria-label", label + ", " + share(tree.total[i], tree.total[0]));
    this.shown[i] = f;
    page.appendChild(f);
  };

  Flames.prototype.focus = function (i) {
    var f = this.shown[i], old = this.graph.querySelector("[tabindex='0']");
    if (!f) { return; }
    if (old) { old.tabIndex = -1; }
    f.tabIndex = 0;
    f.focus();
  };

  Flames.prototype.tell = function (i) {
    var tree = this.tree, place = tree.place(i), text;
    text = ": " + time(tree.total[i]) + ", " + share(tree.total[i], tree.total[0]) + " of all";
    if (this.zoomed) { text += ", " + share(tree.total[i], tree.total[this.zoomed]) + " of what is shown"; }
    if (!this.cpu.disabled && this.cpu.value === "all") { text += "; on a processor " + time(tree.on[i]); }
    text += "; itself " + time(tree.own[i]) + "; " + tree.samples[i] + (tree.samples[i] === 1 ? " sample" : " samples");
    this.detail.textContent = "";
    this.detail.appendChild(element("b", "", tree.name(i)));
    this.detail.appendChild(document.createTextNode((place ? " " + place : "") + text));
  };

  /* Marks what is searched for, and says its share: what is below another match is in that one. */
  Flames.prototype.mark = function () {
    var tree = this.tree, wanted = this.search.value.toLowerCase(), found = 0, i;
    for (i in this.shown) {
      this.shown[i].classList.toggle("found", wanted !== "" && tree.label(Number(i)).toLowerCase().indexOf(wanted) >= 0);
    }
    if (wanted === "") { this.what.textContent = TITLES[this.view]; return; }
    for (i = 0; i < tree.n;) {
      if (tree.label(i).toLowerCase().indexOf(wanted) >= 0) { found += tree.total[i]; i = tree.end[i]; } else { i++; }
    }
    this.what.textContent = "Found: " + share(found, tree.total[0]) + " of all, " + time(found) + ".";
  };

  /* What functions had themselves.  Of the whole it is known, also of what lies in small branches. */
  Flames.prototype.ownTimes = function () {
    var tree = this.tree, own = {}, known = tree.data.own[this.view], i;
    if (!this.zoomed && Number(this.thread.value) < 0 && (this.cpu.disabled || this.cpu.value === "all")) {
      for (i = 0; i < known.length; i += 2) { own[known[i]] = known[i + 1]; }
      return own;
    }
    for (i = this.zoomed; i < tree.end[this.zoomed]; i++) {
      if (tree.what[i] >= 0 && tree.own[i] > 0) { own[tree.what[i]] = (own[tree.what[i]] || 0) + tree.own[i]; }
    }
    return own;
  };

  Flames.prototype.listTop = function () {
    var tree = this.tree, own = this.ownTimes(), self = this;
    var order = Object.keys(own).sort(function (a, b) { return own[b] - own[a]; }).slice(0, TOP);
    this.top.textContent = "";
    if (!order.length) { return; }
    this.top.appendChild(element("caption", "", "Innermost functions, without what they called"));
    order.forEach(function (what) {
      var row = element("tr"), head = element("th"), f = tree.data.functions[what];
      head.scope = "row";
      var file = tree.data.files[f[1]], base = file.slice(file.lastIndexOf("/") + 1);
      /* A function without a symbol has the name of its file in its own: [file+0x12]. */
      var name = f[0].indexOf("[" + base + "+") ? f[0] : f[0].slice(base.length + 1, -1);
      head.appendChild(element("bdi", "", name));
      head.appendChild(element("span", "dim", " " + base + (f[2] ? ":" + f[2] : "")));
      row.appendChild(head);
      row.appendChild(element("td", "n", time(own[what])));
      row.appendChild(element("td", "n", share(own[what], tree.total[0])));
      row.addEventListener("click", function () { self.search.value = f[0]; self.mark(); });
      self.top.appendChild(row);
    });
  };

  /* A table's columns of numbers can be sorted by: largest first, and the other way around when asked again. */
  function sortable(head) {
    var table = head.closest("table"), button = element("button", "sort", head.textContent);
    button.type = "button";
    button.title = "sort by this";
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var ascending = head.getAttribute("aria-sort") === "descending", column = head.cellIndex;
      var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
      var value = function (row) { return Number(row.cells[column].getAttribute("data-v")); };
      rows.sort(function (a, b) { return ascending ? value(a) - value(b) : value(b) - value(a); });
      rows.forEach(function (row) { body.appendChild(row); });
      table.querySelectorAll("th[aria-sort]").forEach(function (th) { th.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    });
  }

  Array.prototype.forEach.call(document.querySelectorAll("table"), function (table) {
    var first = table.tBodies.length && table.tBodies[0].rows[0];
    Array.prototype.forEach.call(table.querySelectorAll("thead th"), function (head) {
      if (first && first.cells[head.cellIndex].hasAttribute("data-v")) { sortable(head); }
    });
  });

  var all = Array.prototype.map.call(document.querySelectorAll(".flames"), function (section) {
    return new Flames(section);
  });
  var resized = 0;
  window.addEventListener("resize", function () {
    clearTimeout(resized);
    resized = setTimeout(function () { all.forEach(function (flames) { flames.draw(); flames.mark(); }); }, 100);
  });
  document.addEventListener("keydown", function (event) {
    var tag = document.activeElement ? document.activeElement.tagName : "";
    if (event.key === "/" && all.length && tag !== "INPUT" && tag !== "SELECT") {
      all[0].search.focus();
      event.preventDefault();
    }
  });
})();
