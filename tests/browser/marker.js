// The signs by which a source is recognised, for pages: the same marker and the same tones as
// benches/src/marker.rs and benches/src/tone.rs, where they are explained.
//
// A plain script: it puts one object, `consiliumMarker`, on the global scope, in a page as in Node.
(() => {
  "use strict";

  // ---- marker -------------------------------------------------------------------------------

  const COLUMNS = 10;
  const ROWS = 6;
  const CONTRAST_MIN = 60;

  function crc8(bytes) {
    let crc = 0xff;
    for (const byte of bytes) {
      crc ^= byte;
      for (let i = 0; i < 8; i += 1) {
        crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : (crc << 1) & 0xff;
      }
    }
    return crc;
  }

  function bytesOf(id, counter) {
    const bytes = [id & 0xff, (counter >> 8) & 0xff, counter & 0xff];
    return [...bytes, crc8(bytes)];
  }

  function cellIsWhite(bytes, column, row) {
    const ringRow = row === 0 || row === ROWS - 1;
    const ringColumn = column === 0 || column === COLUMNS - 1;
    if (ringRow || ringColumn) return ringRow && ringColumn;
    return ((bytes[row - 1] >> (COLUMNS - 2 - column)) & 1) === 1;
  }

  function cell(width, height, column, row) {
    const x = (i) => Math.floor((width * (COLUMNS + 8 * i)) / (16 * COLUMNS));
    const y = (i) => Math.floor((height * (ROWS + 8 * i)) / (16 * ROWS));
    return { x: x(column), y: y(row), width: x(column + 1) - x(column), height: y(row + 1) - y(row) };
  }

  /** Draws a marker for a picture of `width` by `height` into a 2D context. */
  function drawMarker(context, width, height, id, counter) {
    const bytes = bytesOf(id, counter & 0xffff);
    for (let row = 0; row < ROWS; row += 1) {
      for (let column = 0; column < COLUMNS; column += 1) {
        const { x, y, width: w, height: h } = cell(width, height, column, row);
        context.fillStyle = cellIsWhite(bytes, column, row) ? "#fff" : "#000";
        context.fillRect(x, y, w, h);
      }
    }
  }

  // Mean luma (BT.601 weights) of at most 8 by 8 pixels of a cell's inner half.
  function cellMean(image, left, top, width, height, column, row) {
    const c = cell(width, height, column, row);
    const x0 = left + c.x + Math.floor(c.width / 4);
    const y0 = top + c.y + Math.floor(c.height / 4);
    const w = Math.ceil(c.width / 2);
    const h = Math.ceil(c.height / 2);
    if (w < 1 || h < 1 || x0 < 0 || y0 < 0 || x0 + w > image.width || y0 + h > image.height) return NaN;
    const stepX = Math.ceil(w / 8);
    const stepY = Math.ceil(h / 8);
    let sum = 0;
    let count = 0;
    for (let y = y0; y < y0 + h; y += stepY) {
      for (let x = x0; x < x0 + w; x += stepX) {
        const i = 4 * (y * image.width + x);
        sum += 0.299 * image.data[i] + 0.587 * image.data[i + 1] + 0.114 * image.data[i + 2];
        count += 1;
      }
    }
    return sum / count;
  }

  /**
   * Reads the marker of the picture that covers the rectangle `x`, `y`, `width`, `height` of an
   * ImageData. Gives `{ id, counter }`, or null if there is none or it is too blurred to be sure.
   */
  function readMarker(image, x, y, width, height) {
    const mean = (column, row) => cellMean(image, x, y, width, height, column, row);
    if (!(mean(0, 0) - mean(1, 0) >= CONTRAST_MIN)) return null;
    let corner = 255;
    let side = 0;
    const means = [];
    for (let row = 0; row < ROWS; row += 1) {
      for (let column = 0; column < COLUMNS; column += 1) {
        const value = mean(column, row);
        means.push(value);
        if (cellIsWhite([0, 0, 0, 0], column, row)) corner = Math.min(corner, value);
        else if (row % (ROWS - 1) === 0 || column % (COLUMNS - 1) === 0) side = Math.max(side, value);
      }
    }
    const contrast = corner - side;
    if (!(contrast >= CONTRAST_MIN)) return null;
    const middle = (corner + side) / 2;
    const bytes = [];
    for (let row = 1; row < ROWS - 1; row += 1) {
      let byte = 0;
      for (let column = 1; column < COLUMNS - 1; column += 1) {
        const value = means[row * COLUMNS + column];
        if (!(Math.abs(value - middle) >= contrast * 0.2)) return null;
        byte = (byte << 1) | (value > middle ? 1 : 0);
      }
      bytes.push(byte);
    }
    if (crc8(bytes.slice(0, 3)) !== bytes[3]) return null;
    return { id: bytes[0], counter: (bytes[1] << 8) | bytes[2] };
  }

  // ---- tones --------------------------------------------------------------------------------

  const FREQUENCIES_HZ = [
    425, 554, 759, 1025, 1223, 1362, 1533, 1797, 1918, 2091, 2197, 2435, 2586, 2712, 2926, 3097,
  ];
  const PEAK_DBFS = -20;
  const WINDOW_S = 0.125;
  const PROMINENCE_DB = 12;
  const FLOOR_DBFS = -55;

  const swellHz = (id) => 3 + 0.1 * (id % 20);

  /**
   * The tone of source `id` as an AudioNode to be connected: it runs at once, and for ever. The
   * phase of the swelling differs from the other language's, which no detector minds.
   */
  function makeTone(audioContext, id) {
    const carrier = audioContext.createOscillator();
    carrier.frequency.value = FREQUENCIES_HZ[id - 1];
    // Gain 0.5 + 0.5 sin: swells from nothing to all and back.
    const swell = audioContext.createGain();
    swell.gain.value = 0.5;
    const modulator = audioContext.createOscillator();
    modulator.frequency.value = swellHz(id);
    const depth = audioContext.createGain();
    depth.gain.value = 0.5;
    modulator.connect(depth).connect(swell.gain);
    const level = audioContext.createGain();
    level.gain.value = 10 ** (PEAK_DBFS / 20);
    carrier.connect(swell).connect(level);
    carrier.start();
    modulator.start();
    return level;
  }

  function goertzelDb(pcm, start, hann, rate, frequency) {
    const twiceCos = 2 * Math.cos((2 * Math.PI * frequency) / rate);
    let last = 0;
    let before = 0;
    for (let n = 0; n < hann.length; n += 1) {
      const next = pcm[start + n] * hann[n] + twiceCos * last - before;
      before = last;
      last = next;
    }
    const power = last * last + before * before - twiceCos * last * before;
    return 10 * Math.log10(Math.max(power / (hann.length / 4) ** 2, 1e-12));
  }

  /**
   * The tones in samples between -1 and 1: an array of `{ id, levelDb }` by ascending id, the level
   * in dB of a full-scale sine. Half a second at least is wanted.
   */
  function detectTones(pcm, rate) {
    const length = Math.floor(rate * WINDOW_S);
    const hann = Float64Array.from({ length }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / length));
    const heard = [];
    FREQUENCIES_HZ.forEach((carrier, index) => {
      let best = -Infinity;
      for (let start = 0; start + length <= pcm.length; start += Math.floor(length / 2)) {
        const level = goertzelDb(pcm, start, hann, rate, carrier);
        if (level < FLOOR_DBFS || level <= best) continue;
        const beside = Math.max(
          ...[-44, -32, 32, 44].map((off) => goertzelDb(pcm, start, hann, rate, carrier + off)),
        );
        if (level - beside >= PROMINENCE_DB) best = level;
      }
      if (best > -Infinity) heard.push({ id: index + 1, levelDb: best });
    });
    return heard;
  }

  /** The tones that an AnalyserNode hears now. Set its `fftSize` to 32768: 0.7 s at 48 kHz. */
  function hearTones(analyser) {
    const pcm = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(pcm);
    return detectTones(pcm, analyser.context.sampleRate);
  }

  globalThis.consiliumMarker = { drawMarker, readMarker, makeTone, detectTones, hearTones };
})();
