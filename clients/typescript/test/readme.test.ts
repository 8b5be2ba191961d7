import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const OPTIONS = {
  extends: join(ROOT, "tsconfig.json"),
  compilerOptions: { noEmit: true, rootDir: ROOT, noUnusedParameters: false, noUnusedLocals: false },
  include: ["."],
  exclude: [],
};

test("the programs of the README compile", async (context) => {
  const readme = await readFile(join(ROOT, "README.md"), "utf8");
  const programs = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, program]) => program ?? "");
  assert(programs.length >= 4);
  // Within the package, so that they find it by its name.
  const folder = await mkdtemp(join(ROOT, "dist", "readme-"));
  context.after(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(OPTIONS));
  await Promise.all(programs.map((program, index) => writeFile(join(folder, `program${index}.ts`), program)));
  const tsc = join(ROOT, "node_modules", ".bin", "tsc");
  const errors = await promisify(execFile)(tsc, ["--project", folder]).catch(
    ({ stdout }: { stdout: string }) => stdout,
  );
  assert.equal(typeof errors === "string" ? errors : "", "");
});
