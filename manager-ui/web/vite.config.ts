import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** Packs what the server sends with `content-encoding: gzip`, once instead of at each request. */
function packed(): Plugin {
  return {
    name: "packed",
    apply: "build",
    closeBundle() {
      const folder = new URL("dist/assets/", import.meta.url);
      for (const name of readdirSync(folder)) {
        if (/\.(js|css|svg)$/.test(name)) {
          const file = new URL(name, folder);
          writeFileSync(new URL(`${name}.gz`, folder), gzipSync(readFileSync(file), { level: 9 }));
        }
      }
    },
  };
}

export default defineConfig({
  // The server puts a fresh nonce in this place of index.html.
  html: { cspNonce: "CSP_NONCE" },
  esbuild: { jsx: "automatic" },
  plugins: [packed()],
  // Tests read in the server's source what it may say.
  server: { fs: { allow: [".."] } },
  build: {
    target: "es2022",
    // Inlined data: URLs would widen the content security policy.
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 1500,
    rollupOptions: {
      onwarn(warning, warn) {
        // "use client" marks speak to server-side rendering, which is not done here.
        if (warning.code !== "MODULE_LEVEL_DIRECTIVE") warn(warning);
      },
    },
  },
});
