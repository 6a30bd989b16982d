/** The header rules of one API: the defaults, and what its configuration changes in them. */

import { ConfigurationError } from "../../errors.ts";
import type { DownstreamApiOptions, HeaderRuleChanges } from "../contract.ts";
import { FIXED_FIELDS, type HeaderRules, REQUEST_RULES, RESPONSE_RULES } from "./header-rules.ts";

interface ApiHeaderRules {
  readonly request: HeaderRules;
  readonly response: HeaderRules;
}

const compiled = new WeakMap<DownstreamApiOptions, ApiHeaderRules>();

/** Compiled at the first call for an API. @throws {ConfigurationError} for a field that no rule can open. */
export function headerRulesOf(api: DownstreamApiOptions): ApiHeaderRules {
  if (api.headers === undefined) return DEFAULTS;
  let rules = compiled.get(api);
  if (rules === undefined) {
    const { name, headers } = api;
    rules = {
      request: changed(REQUEST_RULES, headers.request, `downstreamApis.${name}.headers.request`),
      response: changed(RESPONSE_RULES, headers.response, `downstreamApis.${name}.headers.response`),
    };
    compiled.set(api, rules);
  }
  return rules;
}

const DEFAULTS: ApiHeaderRules = { request: REQUEST_RULES, response: RESPONSE_RULES };

function changed(
  rules: HeaderRules,
  { allow = [], deny = [] }: HeaderRuleChanges = {},
  path: string,
): HeaderRules {
  const allowed = new Set(allow.map((name) => name.toLowerCase()));
  const denied = deny.map((name) => name.toLowerCase());
  const faults = [...allowed]
    .filter((name) => FIXED_FIELDS.has(name) || !/^[!#$%&'*+.^`|~0-9a-z-]+$/.test(name))
    .map((name) => ({ path: `${path}.allow`, problem: `"${name}" cannot be let through` }));
  if (faults.length > 0) throw new ConfigurationError(faults);
  const names = new Set([...rules.names].filter((name) => !allowed.has(name)));
  for (const name of denied) names.add(name);
  return { names, prefixes: rules.prefixes, allowed };
}
