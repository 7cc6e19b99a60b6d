// Compiles linked shaders with Tint, Chrome's WGSL compiler, and fails if Tint reports anything.
//
//   node check.mjs DIR...       checks every *.wgsl file in the folders
//   node check.mjs --self-test  checks that good sample shaders pass and bad ones fail
//
// naga accepts barriers and subgroup functions in non-uniform control flow, but Tint does not: a
// shader that only naga has checked may not run in a browser. Tint is part of Dawn. Dawn's null
// backend needs neither a GPU nor a driver, and validates in full.
//
// The script also makes a pipeline of each entry point. Only that checks what depends on an
// `override` (a workgroup size, an array length, a division). A file X.json next to X.wgsl may give
// values for the overrides, such as { "C": 64, "EPS": 1e-5 }; the others get default values by
// type.
import { readFileSync, readdirSync, existsSync } from "node:fs";
import { join, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { create, globals } from "webgpu";

Object.assign(globalThis, globals);

// Replaces comments by spaces, so that positions do not change.
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

// The `enable` directives that browsers require. naga rejects them, so the shaders leave them out.
// The result is always exactly one line.
function directives(code) {
  const features = [];
  if (/\bsubgroup(?!Barrier)[A-Z_]\w*|\bquad[A-Z]\w*|\bsubgroup_(size|invocation_id|id)\b/.test(code)) features.push("subgroups");
  if (/\bf16\b|\d+h\b/.test(code) && !/\benable\s+f16\b/.test(code)) features.push("f16");
  return features.map((f) => `enable ${f};`).join(" ") + "\n";
}

// Default values. 16 works as a size, a count and a divisor, also of the largest subgroup, and
// every browser supports a workgroup of 16 x 16. One half works as a rate or an epsilon.
// tests/it/shaders.rs uses the same values.
const DEFAULTS = { u32: 16, i32: 16, f32: 0.5, f16: 0.5, bool: 1 };

function overrides(code, given) {
  const values = {};
  for (const [, id, name, type, init] of code.matchAll(/(@id\(\s*\d+\s*\)\s*)?\boverride\s+(\w+)\s*(?::\s*(\w+))?\s*(=)?/g)) {
    const key = id ? id.match(/\d+/)[0] : name;
    if (name in given) values[key] = given[name];
    else if (!init) values[key] = DEFAULTS[type] ?? 16;
  }
  return values;
}

function entryPoints(code) {
  return [...code.matchAll(/((?:@\w+(?:\((?:[^()]|\([^()]*\))*\))?\s*)+)fn\s+(\w+)/g)]
    .filter(([, attributes]) => /@compute\b/.test(attributes))
    .map(([, , name]) => name);
}

// The problems of one linked shader, as lines "file:line:column: message".
async function check(device, file, text, given = {}) {
  const code = withoutComments(text);
  const problems = [];
  // The error scope's own error is dropped: the compiler's messages say the same with positions.
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
  // The limits stay at WebGPU's defaults, which every browser grants: 8 storage buffers, 16 KiB of
  // workgroup memory, 256 invocations.
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

// The first line of a sample is the expected result: `// good`, or
// `// bad LINE: words of the message`.
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
// Dawn lives as long as `gpu` and would keep the process from ending.
process.exit(ok && gpu ? 0 : 1);
