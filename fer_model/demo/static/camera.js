// The camera of the live tab; `element` and `trigger` come from gr.HTML (docs/demo.md#gradios-internals). `window.ferCamera` ties it to the component that answers arrive in.
const find = (query) => element.querySelector(query);
const video = find('video'), svg = find('svg'), words = find('p'), rate = find('.fer-rate'), stage = find('.fer-stage');
const button = find('[data-do=toggle]'), turn = find('[data-do=turn]');
const boxes = find('[data-do=boxes]'), maps = find('[data-do=maps]');
const canvas = document.createElement('canvas');
let stream = null, starting = false, facing = 'user', first = true, times = [], late = null, number = 0;

function say(text) { words.textContent = text; }

function stop(text) {
  if (stream) stream.getTracks().forEach((track) => track.stop());
  stream = null; starting = false; number += 1;  // an answer that is under way is to no frame any more
  video.srcObject = null; svg.replaceChildren(); rate.textContent = '';
  clearTimeout(late);
  button.textContent = 'Start the camera'; turn.hidden = true;
  say(text || 'The camera is off.');
}

async function start() {
  if (starting) return;  // the browser is asking already
  if (!navigator.mediaDevices) return say('This browser gives no camera to pages without https.');
  starting = true;
  say('Waiting for the camera …');
  let given = null;
  try {
    given = await navigator.mediaDevices.getUserMedia(
      {video: {width: {ideal: SIZE}, height: {ideal: 480}, facingMode: facing}, audio: false});
    video.srcObject = given;
    await video.play();
  } catch (error) {
    if (given) given.getTracks().forEach((track) => track.stop());
    const reasons = {NotAllowedError: 'The camera was not allowed. Allow it in the browser\'s settings for this page.',
                     NotFoundError: 'No camera was found.', NotReadableError: 'The camera is in use by another program.'};
    return stop(reasons[error.name] || 'The camera cannot be used (' + error.name + ').');
  }
  if (!starting) return given.getTracks().forEach((track) => track.stop());  // stopped while it began
  starting = false; stream = given;
  say(''); button.textContent = 'Stop the camera'; first = true; times = [];
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === 'videoinput');
  turn.hidden = cameras.length < 2;
  stage.classList.toggle('fer-mirrored', facing === 'user');
  given.getVideoTracks()[0].addEventListener('ended', () => stop('The camera was switched off.'));
  send();
}

function send() {
  clearTimeout(late);
  if (!stream || !element.isConnected) return;
  if (document.hidden || !element.offsetParent) return void (late = setTimeout(send, 500));  // nobody looks
  number += 1;
  const scale = Math.min(SIZE / Math.max(video.videoWidth, video.videoHeight), 1);
  canvas.width = Math.round(video.videoWidth * scale); canvas.height = Math.round(video.videoHeight * scale);
  canvas.getContext('2d').drawImage(video, 0, 0, canvas.width, canvas.height);
  trigger('input', {frame: canvas.toDataURL('image/jpeg', 0.8), maps: maps.checked, first, number});
  first = false;
  late = setTimeout(send, 10000);  // an answer was lost, or was an error
}

function draw(answer) {
  if (!stream) return;
  svg.setAttribute('viewBox', `0 0 ${answer.width} ${answer.height}`);
  const mirrored = stage.classList.contains('fer-mirrored'), parts = [];
  for (const face of answer.faces) {
    let [left, top, right, bottom] = face.box;
    if (mirrored) [left, right] = [answer.width - right, answer.width - left];
    if (face.map) {
      const side = MARGIN * Math.max(right - left, bottom - top);
      const x = (left + right) / 2, y = (top + bottom) / 2, tilt = mirrored ? -face.tilt : face.tilt;
      const flip = mirrored ? ' scale(-1 1)' : '';
      parts.push(part('image', {href: face.map, x: -side / 2, y: -side / 2, width: side, height: side, opacity: 0.45,
                                transform: `translate(${x} ${y}) rotate(${tilt})${flip}`}));
    }
    if (!boxes.checked) continue;
    parts.push(part('rect', {x: left, y: top, width: right - left, height: bottom - top, fill: 'none', stroke: '#ff8c00',
                             'stroke-width': 3, rx: 3}));
    const size = Math.max(16, answer.height / 26), above = top > size * 1.4, y = above ? top - size * 0.4 : top + size;
    const text = part('text', {x: Math.max(left, 2), y, 'font-size': size, fill: '#fff', stroke: '#000', 'stroke-width': size / 5,
                               'paint-order': 'stroke', 'font-weight': 600});
    text.textContent = face.text; parts.push(text);
  }
  svg.replaceChildren(...parts);
  times.push(performance.now()); if (times.length > 12) times.shift();
  if (times.length > 2) {
    rate.textContent = ((times.length - 1) * 1000 / (times.at(-1) - times[0])).toFixed(1) + ' answers a second';
  }
}

function part(name, attributes) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}

button.addEventListener('click', () => stream ? stop() : start());
turn.addEventListener('click', () => { stop(); facing = facing === 'user' ? 'environment' : 'user'; start(); });
window.addEventListener('pagehide', () => stop());
// an answer that comes after its time is passed over: its frame has been replaced by a newer one
window.ferCamera = {answered: (answer) => { if (answer.number === number) { draw(answer); send(); } }};
