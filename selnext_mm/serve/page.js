'use strict';
const at = (id) => document.getElementById(id);
let token = sessionStorage.getItem('token') || '';
let model = null, answer = null, asked = 0, moved = false;

const colour = (name) => {
  const i = model ? Math.max(0, model.classes.indexOf(name)) : 0;
  return `hsl(${(i * 137.5) % 360} 85% 32%)`;
};

function say(text, bad = false) {
  at('status').textContent = text;
  at('status').className = bad ? 'bad' : '';
}

async function ask(path, options = {}) {
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.ok) return response.json();
  if (response.status === 401) at('login').hidden = false;
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  throw new Error(problem.detail);
}

async function start() {
  try {
    model = await ask('model');
    at('login').hidden = true;
    at('name').textContent = model.name;
    at('about').textContent = `${model.kind}, ${model.classes.length} classes`;
    at('choice').hidden = model.kind !== 'detector';
    show();
    say('');
  } catch (error) {
    say(error.message, true);
  }
}

// COCO's compressed run lengths: columns of 0, 1, 0, ... as differences in base 32.
function runs(text) {
  const counts = [];
  for (let i = 0; i < text.length;) {
    let value = 0, shift = 0, byte;
    do {
      byte = text.charCodeAt(i++) - 48;
      value |= (byte & 31) << shift;
      shift += 5;
    } while (byte & 32);
    if (byte & 16) value |= -1 << shift;
    if (counts.length > 2) value += counts[counts.length - 2];
    counts.push(value);
  }
  return counts;
}

function paint(pen, mask, scale) {
  const [height] = mask.size;
  let place = 0, inside = false;
  for (const count of runs(mask.counts)) {
    for (let left = inside ? count : 0, at_ = place; left > 0;) {
      const row = at_ % height, long = Math.min(left, height - row);
      pen.fillRect(Math.floor(at_ / height) * scale, row * scale, scale + .5, long * scale);
      at_ += long;
      left -= long;
    }
    place += count;
    inside = !inside;
  }
}

// Until the slider is moved: the threshold of each class, if the model has them.
const lowest = (label) =>
  moved || !model?.class_thresholds ? Number(at('threshold').value) : model.class_thresholds[label];

function show() {
  at('value').textContent =
    moved || !model?.class_thresholds ? lowest(0).toFixed(2) : 'set for each class';
  if (!answer) return;
  const detector = Boolean(answer.annotations);
  const found = detector
    ? answer.annotations.filter((a) => a.score >= lowest(a.label)) : answer.classes;
  const { width, height } = answer.image;
  const scale = Math.min(1, 1600 / Math.max(width, height));
  const canvas = at('marks'), pen = canvas.getContext('2d');
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const size = Math.max(12, canvas.width / 40);
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textBaseline = 'top';
  pen.lineWidth = Math.max(2, canvas.width / 300);
  const drawn = detector ? [...found].reverse() : [];
  for (const item of drawn) {
    const [x, y, w, h] = item.bbox.map((v) => v * scale);
    pen.fillStyle = pen.strokeStyle = colour(item.category);
    if (item.segmentation) {
      pen.globalAlpha = .4;
      paint(pen, item.segmentation, scale);
      pen.globalAlpha = 1;
    }
    pen.strokeRect(x, y, w, h);
  }
  for (const item of drawn) {  // above the lines of all boxes
    const [x, y] = item.bbox.map((v) => v * scale);
    const label = `${item.category} ${item.score.toFixed(2)}`;
    const top = Math.max(0, y - size * 1.3);
    const wide = pen.measureText(label).width + 8;
    const left = Math.max(0, Math.min(x, canvas.width - wide));
    pen.fillStyle = colour(item.category);
    pen.fillRect(left, top, wide, size * 1.3);
    pen.fillStyle = '#fff';
    pen.fillText(label, left + 4, top + size * .15);
  }
  at('rows').replaceChildren(...found.map((item) => {
    const row = document.createElement('tr');
    const name = row.insertCell(), swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = colour(item.category);
    name.append(swatch, item.category);
    row.insertCell().textContent = item.score.toFixed(3);
    return row;
  }));
  at('count').textContent = detector
    ? `${found.length} of ${answer.annotations.length} objects, ${width} x ${height} pixels`
    : `the ${found.length} best classes`;
}

// Not beside the answer to another image.
function refuse(text) {
  at('result').hidden = true;
  say(text, true);
}

async function send(file) {
  const mine = ++asked;
  if (!file) return;
  if (!model) await start(); // else it is not known what the model takes
  if (!model || mine !== asked) return;
  if (file.size > model.max_bytes) {
    refuse(`${file.name} is too large; the limit is ${(model.max_bytes / 1e6).toFixed(0)} MB`);
    return;
  }
  say(`Looking at ${file.name} \u2026`);
  try {
    const headers = { 'Content-Type': file.type || 'application/octet-stream' };
    const path = model.kind === 'detector' ? 'predict?score_thr=0' : 'predict';
    const found = await ask(path, { method: 'POST', body: file, headers });
    if (mine !== asked) return; // another image was chosen meanwhile
    answer = found;
    for (const [link, blob] of [
      [at('picture'), file],
      [at('save'), new Blob([JSON.stringify(found)], { type: 'application/json' })],
    ]) {
      const key = link.tagName === 'IMG' ? 'src' : 'href';
      URL.revokeObjectURL(link[key]);
      link[key] = URL.createObjectURL(blob);
    }
    at('picture').alt = file.name;
    at('result').hidden = false;
    show();
    say('');
  } catch (error) {
    if (mine === asked) refuse(error.message);
  }
}

at('file').addEventListener('change', (event) => {
  send(event.target.files[0]);
  event.target.value = ''; // else choosing the same image again would not be a change
});
at('threshold').addEventListener('input', () => {
  moved = true;
  show();
});
at('login').addEventListener('submit', (event) => {
  event.preventDefault();
  token = at('token').value;
  sessionStorage.setItem('token', token);
  start();
});
addEventListener('paste', (event) => send(event.clipboardData.files[0]));
for (const kind of ['dragover', 'dragleave', 'drop']) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    at('drop').classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') send(event.dataTransfer.files[0]);
  });
}
start();
