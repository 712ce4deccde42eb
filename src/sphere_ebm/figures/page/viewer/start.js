/** Opens the map of this page. */

import { columnsOfDocument } from "./decode.js";
import { openViewer } from "./viewer.js";

async function start() {
  const root = document.getElementById("sphere-page");
  const facts = JSON.parse(document.getElementById("facts").textContent);
  let written = location.hash.slice(1);
  const viewer = await openViewer(root, facts, columnsOfDocument(document), {
    keys: document,
    link: written,
    keepLink(link) {
      if (link === written) return;
      written = link;
      try {
        history.replaceState(null, "", `#${link}`);
      } catch {
        // A frame without an address of its own has no links to keep.
      }
    },
  });
  window.addEventListener("hashchange", () => {
    const link = location.hash.slice(1);
    if (link === written) return;
    written = link;
    viewer.follow(link);
  });
  window.sphere = viewer;
  root.dataset.ready = "true";
}

start().catch((error) => {
  const root = document.getElementById("sphere-page");
  root.querySelector('[data-part="status"]').textContent =
    `This map cannot be shown: ${error.message}`;
  root.dataset.ready = "failed";
  throw error;
});
