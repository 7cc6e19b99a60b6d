// Compiles linked shaders with Tint, the WGSL compiler of Chrome, and fails on the first word that Tint does not take.
//
//   node check.mjs DIR...       every *.wgsl file of the folders
//   node check.mjs --self-test  proves on sample shaders that good ones pass and bad ones fail
//
// naga accepts barriers and subgroup functions in non-uniform control flow, and Tint does not: a shader that only naga has seen
// may not run in a browser. Tint is part of Dawn; its null backend needs neither a GPU nor a driver, and validates in full.
// Then each entry point is made into a pipeline, because what depends on an `override` (a workgroup size, an array length, a
// division by it) is only checked there. The values are made up, by type; a file X.json beside X.wgsl may give its own:
// { "C": 64, "EPS": 1e-5 }.
import { readFileSync, readdirSync, existsSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);

// Comments become spaces, so that places stay what they are.
function withoutComments(text) {
  let out = "";
  for (let i = 0; i < text.length; ) {
    let end = i;
    if (text.startsWith("//", i)) {
      end = text.indexOf("\n", i);
      if (end < 0) end = text.length;
    } else if (text.startsWith("/*", i)) {
      let depth = 0;
      do {
        if (text.startsWith("/*", end)) (depth++, (end += 2));
        else if (text.startsWith("*/", end)) (depth--, (end += 2));
        else end++;
      } while (depth > 0 && end < text.length);
    }
    if (end > i) out += text.slice(i, end).replace(/[^\n]/g, " ");
    else out += text[end++];
    i = end;
  }
  return out;
}

// naga rejects the lines that browsers require, so the shaders leave them out. One line stands before the text, whatever is in it.
function directives(code) {
  const features = [];
  if (/\bsubgroup(?!Barrier)[A-Z_]\w*|\bquad[A-Z]\w*|\bsubgroup_(size|invocation_id|id)\b/.test(code)) features.push("subgroups");
  if (/\bf16\b|\d+h\b/.test(code) && !/\benable\s+f16\b/.test(code)) features.push("f16");
  return features.map((f) => `enable ${f};`).join(" ") + "\n";
}

// Made-up values. 16 is a size, a count and a divisor, also of the largest subgroup, and 16 x 16 is a workgroup that every
// browser takes; one half fits rates and epsilons. tests/shaders.rs has the same.
const MADE_UP = { u32: 16, i32: 16, f32: 0.5, f16: 0.5, bool: 1 };

function overrides(code, given) {
  const values = {};
  for (const [, id, name, type, init] of code.matchAll(/(@id\(\s*\d+\s*\)\s*)?\boverride\s+(\w+)\s*(?::\s*(\w+))?\s*(=)?/g)) {
    const key = id ? id.match(/\d+/)[0] : name;
    if (name in given) values[key] = given[name];
    else if (!init) values[key] = MADE_UP[type] ?? 16;
  }
  return values;
}

function entryPoints(code) {
  return [...code.matchAll(/((?:@\w+(?:\((?:[^()]|\([^()]*\))*\))?\s*)+)fn\s+(\w+)/g)]
    .filter(([, attributes]) => /@compute\b/.test(attributes))
    .map(([, , name]) => name);
}

// The problems of one linked text, as lines of "file:line:column: what".
async function check(device, file, text, given = {}) {
  const code = withoutComments(text);
  const problems = [];
  // No error scope stands around the module: the compiler's messages say the same, with their places. So it is dropped silently.
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: directives(code) + text });
  const { messages } = await module.getCompilationInfo();
  await device.popErrorScope();
  for (const m of messages) {
    const place = `${file}:${m.lineNum - 1}:${m.linePos}`;
    if (m.type === "error") problems.push(`${place}: error: ${m.message}`, ...quote(text, m));
    else if (m.type === "info" && problems.length > 0) problems.push(`${place}:   note: ${m.message}`);
    else if (m.type === "warning") problems.push(`${place}: warning: ${m.message}`, ...quote(text, m));
  }
  if (problems.length > 0) return problems;

  const constants = overrides(code, given);
  const entries = entryPoints(code);
  if (entries.length === 0) problems.push(`${file}:1:1: error: no compute entry point`);
  for (const entryPoint of entries) {
    try {
      await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint, constants } });
    } catch (e) {
      problems.push(`${file}: error: entry point '${entryPoint}' with ${JSON.stringify(constants)}: ${e.message}`);
    }
  }
  return problems;
}

function quote(text, m) {
  const line = text.split("\n")[m.lineNum - 2] ?? "";
  return ["    " + line, "    " + " ".repeat(Math.max(m.linePos - 1, 0)) + "^".repeat(Math.max(m.length, 1))];
}

async function open() {
  const gpu = create(["backend=null"]);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error("Dawn's null backend is missing from this build of the npm package webgpu");
  const requiredFeatures = ["subgroups", "shader-f16", "timestamp-query"].filter((f) => adapter.features.has(f));
  // The limits are WebGPU's defaults, the ones every browser grants: 8 storage buffers, 16 KiB of workgroup memory, 256 invocations.
  return { gpu, device: await adapter.requestDevice({ requiredFeatures }) };
}

async function checkFolders(device, folders) {
  let files = 0;
  let bad = 0;
  for (const folder of folders) {
    for (const name of readdirSync(folder).filter((n) => n.endsWith(".wgsl")).sort()) {
      const file = join(folder, name);
      const values = file.replace(/\.wgsl$/, ".json");
      const given = existsSync(values) ? JSON.parse(readFileSync(values, "utf8")) : {};
      const problems = await check(device, file, readFileSync(file, "utf8"), given);
      files++;
      if (problems.length > 0) bad++;
      for (const p of problems) console.error(p);
    }
  }
  if (files === 0) {
    console.error(`no .wgsl file in ${folders.join(" ")}: nothing was checked`);
    return false;
  }
  console.log(bad === 0 ? `Tint accepts all ${files} shaders` : `Tint rejects ${bad} of ${files} shaders`);
  return bad === 0;
}

// Every sample names on its first line what is expected: `// good`, or `// bad LINE: words of the message`.
async function selfTest(device) {
  const folder = join(dirname(fileURLToPath(import.meta.url)), "samples");
  let wrong = 0;
  for (const name of readdirSync(folder).filter((n) => n.endsWith(".wgsl")).sort()) {
    const text = readFileSync(join(folder, name), "utf8");
    const [, verdict, line, words] = text.match(/^\/\/ (good|bad) ?(\d*):? ?(.*)/);
    const found = (await check(device, name, text)).join("\n");
    const right = verdict === "good" ? found === "" : found.includes(line ? `${name}:${line}:` : name) && found.includes(words);
    if (!right) wrong++;
    console.log(`${right ? "as expected" : "WRONG"}: ${name} is ${verdict}` + (right ? "" : `, Tint says:\n${found || "(nothing)"}`));
  }
  return wrong === 0;
}

const args = process.argv.slice(2);
if (args.length === 0) {
  console.error("usage: node check.mjs DIR... | --self-test");
  process.exit(2);
}
const { gpu, device } = await open();
const ok = args[0] === "--self-test" ? await selfTest(device) : await checkFolders(device, args);
device.destroy();
// Dawn lives as long as `gpu` does and would keep the process from ending.
process.exit(ok && gpu ? 0 : 1);
