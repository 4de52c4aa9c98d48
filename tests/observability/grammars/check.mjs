// Reads [[language, query], ...] on standard input; prints for each what its grammar says is wrong.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { runInThisContext } from "node:vm";
import { parser as logql } from "@grafana/lezer-logql";
import { parser as traceql } from "@grafana/lezer-traceql";
import { parser as promql } from "@prometheus-io/lezer-promql";

const LEZER = { LogQL: logql, TraceQL: traceql, PromQL: promql };
// The columns of Application Insights that the page asks for.
const TABLES = `
let dependencies = datatable(name:string, operation_Id:string, customDimensions:dynamic) [];
let traces = datatable(message:string, operation_Id:string, customDimensions:dynamic) [];
`;

function errorsOf(parser, query) {
  const found = [];
  parser.parse(query).iterate({
    enter: (node) => void (node.type.isError && found.push(`at ${node.from}`)),
  });
  return found;
}

function kql(query) {
  if (!globalThis.Kusto) {
    const folder = createRequire(import.meta.url).resolve("@kusto/language-service-next/package.json");
    for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"])
      runInThisContext(readFileSync(folder.replace("package.json", name), "utf8"));
  }
  const diagnostics = globalThis.Kusto.Language.KustoCode.ParseAndAnalyze(TABLES + query).GetDiagnostics();
  return Array.from({ length: diagnostics.Count }, (_, i) => diagnostics.getItem(i).Message);
}

const asked = JSON.parse(readFileSync(0, "utf8"));
const answers = asked.map(([language, query]) =>
  language === "KQL" ? kql(query) : errorsOf(LEZER[language], query),
);
console.log(JSON.stringify(answers));
