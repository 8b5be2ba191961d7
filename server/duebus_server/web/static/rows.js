/** Rows of a long table, of which only those in view are in the document. */

import { html } from "htm/preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const AROUND = 15;
const HEIGHT = 31;
/** Rows are counted from 1, and the first one is the head. */
const AFTER_HEAD = 2;

/**
 * The body of a table whose rows are all of the same height.
 *
 * @template T
 * @param {{ rows: T[], columns: number, draw: (row: T, index: number) => any, onEnd?: () => void }} props `draw` returns a
 *   row's `tr`, whose place among all rows is `index`; `onEnd` is called when the last row comes near
 */
export function Rows({ rows, columns, draw, onEnd }) {
  const body = useRef(/** @type {HTMLTableSectionElement | null} */ (null));
  const [height, measure] = useState(HEIGHT);
  const [first, scroll] = useState(0);
  const shown = Math.ceil(window.innerHeight / height) + 2 * AROUND;
  const latest = useRef({ near: 0, onEnd });
  latest.current = { near: rows.length - shown, onEnd };
  const begin = Math.max(0, Math.min(first, rows.length - shown));
  const end = Math.min(rows.length, begin + shown);
  useLayoutEffect(() => {
    const row = body.current?.querySelector("tr:not(.space)");
    const found = row?.getBoundingClientRect().height ?? 0;
    if (found && Math.abs(found - height) > 0.1) measure(found);
  });
  useEffect(() => {
    const moved = () => {
      const above = -(body.current?.getBoundingClientRect().top ?? 0) / height;
      const next = Math.max(0, Math.floor(above / AROUND) * AROUND - AROUND);
      scroll(next);
      if (next >= latest.current.near) latest.current.onEnd?.();
    };
    moved();
    window.addEventListener("scroll", moved, { passive: true });
    window.addEventListener("resize", moved);
    return () => {
      window.removeEventListener("scroll", moved);
      window.removeEventListener("resize", moved);
    };
  }, [height, rows.length]);
  return html`<tbody ref=${body}>
    <${Space} rows=${begin} height=${height} columns=${columns} />
    ${rows.slice(begin, end).map((row, at) => draw(row, begin + at + AFTER_HEAD))}
    <${Space} rows=${rows.length - end} height=${height} columns=${columns} />
  </tbody>`;
}

/** The room of rows that are not in the document. @param {{ rows: number, height: number, columns: number }} props */
function Space({ rows, height, columns }) {
  return rows > 0 && html`<tr class="space" aria-hidden="true"><td colspan=${columns} style=${{ height: `${rows * height}px` }}></td></tr>`;
}
