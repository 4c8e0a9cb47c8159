// What a participant publishes in place of camera and microphone: a moving marker and a tone, with a
// beep whenever the counter passes a multiple of BEEP_EVERY. Runs in the page before its own scripts.
(() => {
  "use strict";
  const { id, width, height, frameRate, ownSound } = globalThis.consiliumSource;
  const BEEP_EVERY_MS = 2000;
  const BEEP_S = 0.08;
  // Tones of ids 9 to 16 are free for beeps: sources have ids 1 to 8.
  const BEEPS_HZ = [1918, 2091, 2197, 2435, 2586, 2712, 2926, 3097];

  // 60,000 frames are a whole number of beep periods at every usual frame rate.
  const counterAt = (ms) => Math.floor((ms * frameRate) / 1000) % 60000;

  function picture() {
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const draw = () => {
      const now = performance.timeOrigin + performance.now();
      context.fillStyle = `hsl(${(id * 67) % 360} 40% 45%)`;
      context.fillRect(0, 0, width, height);
      consiliumMarker.drawMarker(context, width, height, id, counterAt(now));
    };
    draw();
    setInterval(draw, 1000 / frameRate);
    return canvas.captureStream(frameRate).getVideoTracks()[0];
  }

  function sound() {
    const audio = new AudioContext({ sampleRate: 48000 });
    const out = audio.createMediaStreamDestination();
    consiliumMarker.makeTone(audio, id).connect(out);
    const beep = audio.createOscillator();
    beep.frequency.value = BEEPS_HZ[id - 1];
    beep.start();
    const gate = audio.createGain();
    gate.gain.value = 0;
    beep.connect(gate).connect(out);
    const schedule = () => {
      // The wall clock at audio time 0, so that beeps and counters follow one clock.
      const zero = performance.timeOrigin + performance.now() - audio.currentTime * 1000;
      const next = Math.ceil((zero + audio.currentTime * 1000 + 300) / BEEP_EVERY_MS) * BEEP_EVERY_MS;
      const at = (next - zero) / 1000;
      gate.gain.setValueAtTime(0.25, at);
      gate.gain.setValueAtTime(0, at + BEEP_S);
      setTimeout(schedule, next - zero - audio.currentTime * 1000 + 200);
    };
    schedule();
    return out.stream.getAudioTracks()[0];
  }

  // With `ownSound` the browser's own microphone is heard.
  const devices = navigator.mediaDevices;
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (constraints) => {
    const own = constraints.audio && ownSound;
    const stream = own ? await ask({ audio: constraints.audio }) : new MediaStream();
    if (constraints.video) stream.addTrack(picture());
    if (constraints.audio && !own) stream.addTrack(sound());
    return stream;
  };
})();
