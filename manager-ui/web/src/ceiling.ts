// The tallest picture that a room has: our camera's layers are fitted below it.

/** Below this share of the ceiling the layer before leaves something to be seen. */
const NEARLY = 0.8;

/**
 * The layers, lowest first, of a camera with so many lines: what would be taller than `maxHeight` is
 * scaled down to it where no lower layer is as tall already, and not sent otherwise.
 */
export function layersWithin<T extends RTCRtpEncodingParameters>(
  layers: readonly T[],
  lines: number,
  maxHeight: number | null,
): T[] {
  let reached = false;
  let before = 0;
  return layers.map((layer) => {
    const own = layer.scaleResolutionDownBy ?? 1;
    if (maxHeight === null || lines / own <= maxHeight) {
      before = lines / own;
      return { ...layer, active: true };
    }
    const sent = !reached && before < maxHeight * NEARLY;
    reached = true;
    return { ...layer, active: sent, scaleResolutionDownBy: sent ? lines / maxHeight : own };
  });
}
