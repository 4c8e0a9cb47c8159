import { useEffect, useRef } from "react";

interface Props {
  track: MediaStreamTrack;
  mirrored?: boolean;
  label: string;
  testId: string;
}

/** Plays one picture. Sound is played elsewhere, so it is always silent. */
export function Picture({ track, mirrored, label, testId }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    return () => {
      element.srcObject = null;
    };
  }, [track]);
  return (
    <video
      ref={video}
      data-testid={testId}
      className={mirrored ? "mirrored" : undefined}
      aria-label={label}
      autoPlay
      muted
      playsInline
    />
  );
}
