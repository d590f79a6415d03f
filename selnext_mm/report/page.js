'use strict';
(() => {
  const { charts, galleries } = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;
  const touch = matchMedia('(pointer: coarse)').matches;

  // ---- theme: the system's, until the button is used; the choice is stored
  const system = matchMedia('(prefers-color-scheme: dark)');
  const button = document.getElementById('theme');
  let choice = 'system';
  try { choice = localStorage.getItem('report-theme') || 'system'; } catch { /* file:// may forbid it */ }
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function theme() {
    const ink = css('--ink'), line = css('--line');
    const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line };
    return {
      paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      font: { color: ink, size: 12, family: 'system-ui, DejaVu Sans, sans-serif' },
      hoverlabel: { bgcolor: css('--card'), bordercolor: line, font: { color: ink } },
      axis,
      scale: [[0, css('--card')], [1, root.dataset.theme === 'dark' ? '#3f86d8' : '#2f74c6']],
    };
  }

  function layout(chart, node) {
    const t = theme(), given = chart.layout;
    const wide = node.clientWidth > 420;
    const legend = chart.data.filter((d) => d.visible !== false).length > 1 && chart.data[0].type !== 'heatmap';
    return {
      ...given, ...{ paper_bgcolor: t.paper_bgcolor, plot_bgcolor: t.plot_bgcolor, font: t.font, hoverlabel: t.hoverlabel },
      height: chart.height,
      margin: { l: wide ? 56 : 46, r: 14, t: 12, b: 44 },
      hovermode: chart.data[0].type === 'scatter' ? 'x unified' : 'closest',
      dragmode: touch ? false : 'zoom',
      showlegend: legend,
      legend: { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom', font: { size: 11 } },
      xaxis: { automargin: true, ...given.xaxis, ...t.axis },
      yaxis: { automargin: true, ...given.yaxis, ...t.axis },
    };
  }

  function colour(chart) {
    if (chart.data[0].type !== 'heatmap') return chart.data;
    return chart.data.map((d) => ({ ...d, colorscale: theme().scale }));
  }

  function draw(chart) {
    const figure = document.getElementById(chart.id);
    const plot = figure.querySelector('.plot');
    Plotly.newPlot(plot, colour(chart), layout(chart, plot), {
      displayModeBar: false, responsive: true, doubleClick: 'reset', locale: 'en-US',
    });
    const select = figure.querySelector('select');
    if (select && !select.options.length) {
      chart.options.forEach((o, i) => select.add(new Option(o.label, i)));
      select.addEventListener('change', () => {
        const on = new Set(chart.options[select.value].traces);
        chart.data.forEach((d, i) => { d.visible = on.has(i); });
        Plotly.react(plot, colour(chart), layout(chart, plot));
      });
    }
  }

  function redraw() {
    for (const chart of charts) {
      const plot = document.querySelector(`#${chart.id} .plot`);
      Plotly.react(plot, colour(chart), layout(chart, plot));
    }
  }

  function setTheme() {
    root.dataset.theme = choice === 'system' ? (system.matches ? 'dark' : 'light') : choice;
    button.textContent = `theme: ${choice}`;
  }
  setTheme();
  charts.forEach(draw);
  button.addEventListener('click', () => {
    choice = { system: 'light', light: 'dark', dark: 'system' }[choice];
    try { localStorage.setItem('report-theme', choice); } catch { /* as above */ }
    setTheme();
    redraw();
  });
  system.addEventListener('change', () => { setTheme(); redraw(); });

  const logScale = document.getElementById('log-scale');
  logScale?.addEventListener('change', () => {
    for (const chart of charts) {
      if (chart.id !== 'loss' && !(chart.id.startsWith('part-') && chart.id.includes('loss'))) continue;
      chart.layout.yaxis.type = logScale.checked ? 'log' : 'linear';
    }
    redraw();
  });

  // ---- tables that are sorted by a click on a column's head
  const value = (cell) => { const n = parseFloat(cell.textContent); return Number.isNaN(n) ? -Infinity : n; };
  for (const table of document.querySelectorAll('table.sortable')) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') !== 'descending' && column > 0;
      heads.forEach((h) => h.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [p, q] = [a.cells[column], b.cells[column]];
        const order = column ? value(p) - value(q) : p.textContent.localeCompare(q.textContent);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    }));
  }

  // ---- gallery
  const svg = (name, attributes) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v);
    return node;
  };
  const html = (name, className, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const luma = (hex) => [0.299, 0.587, 0.114].reduce((s, f, i) => s + f * parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16), 0);
  const percent = (part, whole) => `${(100 * part / whole).toFixed(2)}%`;

  // Shapes scale with the image, labels keep their size.
  function overlay(frame, entry, items, states, gallery) {
    const shapes = svg('svg', { viewBox: `0 0 ${entry.w} ${entry.h}`, 'aria-hidden': 'true' });
    const labels = html('div', 'labels');
    items.forEach((item, n) => {
      const [x, y, width, height] = item.b, hex = gallery.colours[item.c];
      const state = states ? states[n] : item.k;
      const wrong = ['found', 'right', 'crowd'].includes(state) ? '' : ' wrong';
      const group = svg('g', { class: 'item', 'data-score': item.s ?? 1, 'data-state': state });
      if (item.p) group.append(svg('path', { d: item.p, fill: hex, stroke: hex, class: wrong }));
      group.append(svg('rect', { x, y, width, height, stroke: hex, class: `box${wrong}` }));
      shapes.append(group);
      const text = gallery.classes[item.c] + (state === 'crowd' ? ' (crowd)' : '') + (item.s === undefined ? '' : ` ${item.s.toFixed(2)}`);
      const label = html('span', 'label', text);
      label.dataset.score = item.s ?? 1;
      const place = x > entry.w * 0.6 ? `right:${percent(Math.max(0, entry.w - x - width), entry.w)}` : `left:${percent(Math.max(0, x), entry.w)}`;
      label.style.cssText = `${place};top:${percent(Math.max(0, y), entry.h)};background:${hex};color:${luma(hex) > 150 ? '#111' : '#fff'}`;
      labels.append(label);
    });
    frame.append(shapes, labels);
  }

  function side(entry, caption, items, states, gallery) {
    const figure = html('figure', 'side');
    figure.append(html('figcaption', '', caption));
    const frame = html('div', 'frame');
    const image = new Image(entry.w, entry.h);
    image.alt = `${entry.file}: ${caption}`;
    image.src = entry.src;
    image.decoding = 'async';
    frame.append(image);
    overlay(frame, entry, items, states, gallery);
    figure.append(frame);
    return figure;
  }

  function card(entry, gallery) {
    const most = Math.max(entry.truth.length, ...entry.runs.map((r) => r.found.length));
    const node = html('article', most > 8 ? 'card crowded' : 'card');
    const head = html('h3', '', entry.file);
    head.append(html('span', 'tag', 'quality ' + entry.runs.map((r) => r.q.toFixed(2)).join(' / ')));
    const sides = html('div', entry.w > 1.2 * entry.h ? 'sides stack' : 'sides');
    // With several runs an object counts as missed here if none of them found it.
    const states = entry.truth.map((_, i) => {
      const all = entry.runs.map((r) => r.truth[i]);
      return all.find((s) => s === 'found' || s === 'crowd') ?? all[0];
    });
    sides.append(side(entry, `ground truth (${entry.truth.length})`, entry.truth, states, gallery));
    entry.runs.forEach((run, i) => {
      const name = entry.runs.length > 1 ? gallery.runs[i] : 'prediction';
      sides.append(side(entry, `${name} (${run.found.length})`, run.found, null, gallery));
    });
    sides.addEventListener('click', () => node.classList.toggle('wide'));
    node.append(head, sides);
    return node;
  }

  // Does the image have this class with this error, in any run?
  function matches(entry, wanted, error) {
    const right = (item) => wanted === '' || item.c === Number(wanted);
    if (!error) return entry.truth.some(right) || entry.runs.some((r) => r.found.some(right));
    return entry.runs.some((run) =>
      run.found.some((item) => item.k === error && right(item)) ||
      run.truth.some((state, i) => state === error && right(entry.truth[i])));
  }

  for (const section of document.querySelectorAll('.gallery')) {
    const gallery = galleries[section.dataset.set];
    const form = section.querySelector('form'), cards = section.querySelector('.cards');
    cards.dataset.runs = gallery.runs.length;
    gallery.classes.forEach((name, i) => form.elements.class.add(new Option(name, i)));
    const legend = section.querySelector('.legend');
    if (gallery.classes.length <= 20) {
      gallery.classes.forEach((name, i) => {
        const item = html('span', '', name), mark = html('i');
        mark.style.background = gallery.colours[i];
        item.prepend(mark);
        legend.append(item);
      });
    }
    if (!gallery.entries.some((e) => [...e.truth, ...e.runs.flatMap((r) => r.found)].some((i) => i.p))) {
      form.elements.boxes.checked = true;
      form.elements.masks.parentElement.hidden = true;
    }
    const nodes = gallery.entries.map((entry) => card(entry, gallery));
    const update = () => {
      const { group, class: wanted, error, score, masks, boxes, labels } = form.elements;
      const shown = gallery.entries
        .map((entry, i) => [entry, nodes[i]])
        .filter(([entry]) => (group.value === 'all' || entry.groups.includes(group.value)) && matches(entry, wanted.value, error.value));
      if (group.value === 'best') shown.reverse();
      cards.replaceChildren(...shown.map(([, node]) => node));
      if (!shown.length) cards.append(html('p', 'card empty', 'No image here fits these filters.'));
      cards.classList.toggle('no-masks', !masks.checked);
      cards.classList.toggle('no-boxes', !boxes.checked);
      cards.classList.toggle('no-labels', !labels.checked);
      form.querySelector('output').textContent = Number(score.value).toFixed(2);
      for (const [, node] of shown) {
        for (const item of node.querySelectorAll('[data-score]')) item.style.display = Number(item.dataset.score) < Number(score.value) ? 'none' : '';
      }
      form.querySelector('.count').textContent = `${shown.length} of ${gallery.entries.length} images`;
    };
    form.addEventListener('input', update);
    form.addEventListener('submit', (event) => event.preventDefault());
    update();
  }
})();
