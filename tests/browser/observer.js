// What a participant sees and hears, read from the pixels and samples that the page plays.
(() => {
  "use strict";
  const READ_WIDTH = 320;
  const READ_HEIGHT = 180;
  const BEEP_EVERY_MS = 2000;

  const canvas = document.createElement("canvas");
  canvas.width = READ_WIDTH;
  canvas.height = READ_HEIGHT;
  const context = canvas.getContext("2d", { willReadFrequently: true });

  function lookAt(video) {
    if (!video.videoWidth) return null;
    context.drawImage(video, 0, 0, READ_WIDTH, READ_HEIGHT);
    return context.getImageData(0, 0, READ_WIDTH, READ_HEIGHT);
  }

  function markerOf(video) {
    const image = lookAt(video);
    return image && consiliumMarker.readMarker(image, 0, 0, READ_WIDTH, READ_HEIGHT);
  }

  /** Markers of a picture composed of two sites of its own shape, side by side. */
  function markersOfPair(video) {
    const image = lookAt(video);
    const [width, height] = [READ_WIDTH / 2, READ_HEIGHT / 2];
    const read = (x) => consiliumMarker.readMarker(image, x, height / 2, width, height);
    return image ? [read(0), read(width)] : [];
  }

  const tiles = () => [...document.querySelectorAll('[data-testid="tile"]')];
  const videoOf = (tile) => tile.querySelector("video");

  // ---- sound ----------------------------------------------------------------------------------
  let analyser;
  let heard;
  function listen() {
    const stream = document.querySelector('[data-testid="sound"]')?.srcObject;
    if (!stream || stream === heard) return;
    heard = stream;
    const audio = analyser?.context ?? new AudioContext({ sampleRate: 48000 });
    analyser = audio.createAnalyser();
    analyser.fftSize = 32768;
    audio.createMediaStreamSource(stream).connect(analyser);
    watchSilence();
  }

  // ---- pauses of sound --------------------------------------------------------------------------
  // The mix of several tones that swell is never quiet for long: what is below the floor is no sound.
  const FLOOR = 0.001;
  const SILENCE_EVERY_MS = 20;
  const samples = new Float32Array(1024);
  let silence = null;

  function watchSilence() {
    if (silence) return;
    silence = { last: performance.now(), longest: 0 };
    setInterval(() => {
      // A new connection plays at once.
      listen();
      analyser.getFloatTimeDomainData(samples);
      const now = performance.now();
      silence.longest = Math.max(silence.longest, now - silence.last);
      if (samples.some((sample) => Math.abs(sample) > FLOOR)) silence.last = now;
    }, SILENCE_EVERY_MS);
  }

  function tones() {
    if (globalThis.consiliumSource?.ownSound) return {};
    listen();
    if (!analyser) return {};
    const heard = consiliumMarker.hearTones(analyser);
    return Object.fromEntries(heard.map((tone) => [tone.id, tone.levelDb]));
  }

  // ---- skew of sound against picture ------------------------------------------------------------
  // A beep begins when the source's counter passes a multiple of two seconds. The latest 0.7 s of
  // samples end at the moment of the look, so the onset's position tells when it was heard; the
  // picture's counter at the moment a frame is presented tells how old the picture is.
  const ages = new Map();
  const skews = new Map();
  const looks = new Map();

  function wrap(ms) {
    return ((((ms + BEEP_EVERY_MS / 2) % BEEP_EVERY_MS) + BEEP_EVERY_MS) % BEEP_EVERY_MS) - BEEP_EVERY_MS / 2;
  }

  function watch(video) {
    if (video.dataset.watched) return;
    video.dataset.watched = "yes";
    const look = (_, frame) => {
      const marker = markerOf(video);
      if (marker) {
        const shown = performance.timeOrigin + (frame.expectedDisplayTime ?? performance.now());
        const { frameRate } = globalThis.consiliumSource;
        const phase = ((marker.counter * 1000) / frameRate + 500 / frameRate) % BEEP_EVERY_MS;
        const list = ages.get(marker.id) ?? [];
        list.push(wrap(shown - phase));
        ages.set(marker.id, list.slice(-30));
      }
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  }

  const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

  function beepOnset(pcm, rate, id) {
    const step = Math.round(rate * 0.005);
    const window = Math.round(rate * 0.02);
    const frequency = [1918, 2091, 2197, 2435, 2586, 2712, 2926, 3097][id - 1];
    const levels = [];
    for (let start = 0; start + window <= pcm.length; start += step) {
      let re = 0;
      let im = 0;
      for (let n = 0; n < window; n += 1) {
        const angle = (2 * Math.PI * frequency * n) / rate;
        re += pcm[start + n] * Math.cos(angle);
        im += pcm[start + n] * Math.sin(angle);
      }
      levels.push(Math.hypot(re, im) / window);
    }
    const peak = Math.max(...levels);
    // Beeps come at about 0.13; what leaks here from those of others stays below half of that.
    if (peak < 0.06) return null;
    const first = levels.findIndex((level) => level > peak / 2);
    // A beep cut by the beginning of the samples has no onset here.
    if (first < 4) return null;
    return first * step + window / 2;
  }

  function measureSkew() {
    tiles().map(videoOf).filter(Boolean).forEach(watch);
    listen();
    if (!analyser) return;
    const rate = analyser.context.sampleRate;
    const pcm = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(pcm);
    const end = performance.timeOrigin + performance.now();
    for (const [id, list] of ages) {
      const onset = beepOnset(pcm, rate, id);
      if (onset === null || list.length < 10) continue;
      const heard = end - ((pcm.length - onset) * 1000) / rate;
      const values = skews.get(id) ?? [];
      values.push(wrap(median(list) - heard));
      skews.set(id, values.slice(-15));
      looks.set(id, (looks.get(id) ?? 0) + 1);
    }
  }

  // ---- pauses of pictures -----------------------------------------------------------------------
  // From one frame that is presented to the next, by leg; the time since the last one counts, too.
  const pauses = new Map();

  function time(tile) {
    const video = videoOf(tile);
    if (!video || video.dataset.timed) return;
    video.dataset.timed = "yes";
    const note = () => {
      const now = performance.now();
      const pause = pauses.get(tile.dataset.leg);
      const since = pause ? now - pause.last : 0;
      pauses.set(tile.dataset.leg, { last: now, longest: Math.max(pause?.longest ?? 0, since) });
      video.requestVideoFrameCallback(note);
    };
    video.requestVideoFrameCallback(note);
  }

  /** The longest pause of each picture that is shown, in ms, since the last reset. */
  function longestPauses() {
    const shown = new Set(tiles().map((tile) => tile.dataset.leg));
    const now = performance.now();
    const pairs = [...pauses].filter(([leg]) => shown.has(leg));
    return Object.fromEntries(pairs.map(([leg, p]) => [leg, Math.max(p.longest, now - p.last)]));
  }

  function reset() {
    for (const pause of pauses.values()) pause.longest = 0;
    if (silence) silence.longest = 0;
  }

  /** How packets leave by the pair in use: udp or tcp, or with a relay its own, as in "relay tls". */
  function pathOf(stats) {
    const transport = [...stats.values()].find((stat) => stat.type === "transport");
    const pair = stats.get(transport?.selectedCandidatePairId);
    const local = stats.get(pair?.localCandidateId);
    if (!local) return "";
    return local.candidateType === "relay" ? `relay ${local.relayProtocol}` : local.protocol;
  }

  // ---- report -----------------------------------------------------------------------------------
  async function report(withSkew) {
    if (withSkew) measureSkew();
    tiles().forEach(time);
    const markers = {};
    const lines = {};
    for (const tile of tiles()) {
      const video = videoOf(tile);
      if (!video) continue;
      if (video.videoHeight) lines[tile.dataset.leg] = video.videoHeight;
      const { leg, composed } = tile.dataset;
      const seen = composed ? markersOfPair(video) : [markerOf(video)];
      seen.forEach((marker, n) => {
        if (marker) markers[n ? `${leg} ${n}` : leg] = marker;
      });
    }
    const pc = window.__consilium?.pc;
    let framesDecoded = 0;
    let packetsLost = 0;
    let path = "";
    if (pc) {
      const stats = await pc.getStats();
      path = pathOf(stats);
      for (const stat of stats.values()) {
        if (stat.type !== "inbound-rtp") continue;
        framesDecoded += stat.framesDecoded ?? 0;
        packetsLost += stat.packetsLost ?? 0;
      }
    }
    return {
      markers,
      lines,
      tones: tones(),
      pausesMs: longestPauses(),
      soundPauseMs: silence?.longest ?? 0,
      framesDecoded,
      packetsLost,
      path,
      connection: pc?.connectionState ?? "none",
      skewLooks: Object.fromEntries(looks),
      skewMs: Object.fromEntries([...skews].map(([id, values]) => [id, median(values)])),
    };
  }

  globalThis.consiliumObserver = { report, reset };
})();
