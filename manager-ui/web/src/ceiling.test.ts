import { expect, it } from "vitest";
import { layersWithin } from "./ceiling";

const layers: RTCRtpEncodingParameters[] = [
  { rid: "l", scaleResolutionDownBy: 4 },
  { rid: "m", scaleResolutionDownBy: 2 },
  { rid: "h", scaleResolutionDownBy: 1 },
];

/** Lines of each layer that is sent. */
function sent(lines: number, maxHeight: number | null) {
  const fitted = layersWithin(layers, lines, maxHeight).filter((layer) => layer.active);
  return fitted.map((layer) => Math.round(lines / (layer.scaleResolutionDownBy ?? 1)));
}

it("sends no layer that is taller than the room's pictures, and one that is as tall", () => {
  expect(sent(720, null)).toEqual([180, 360, 720]);
  expect(sent(720, 720)).toEqual([180, 360, 720]);
  expect(sent(720, 540)).toEqual([180, 360, 540]);
  expect(sent(720, 360)).toEqual([180, 360]);
  expect(sent(720, 180)).toEqual([180]);
  expect(sent(1280, 180)).toEqual([180]);
  expect(sent(480, 360)).toEqual([120, 240, 360]);
});
