/** The header rules of one API: the defaults, and the changes of its configuration. */

import { ConfigurationError } from "../../errors.ts";
import type { DownstreamApiOptions, HeaderRuleChanges } from "../contract.ts";
import {
  APPLICATION_FIELDS,
  FIXED_RULES,
  type HeaderRules,
  IDENTITY_RULES,
  REQUEST_RULES,
  RESPONSE_RULES,
} from "./header-rules.ts";
import { isDropped } from "./headers.ts";

interface ApiHeaderRules {
  readonly request: HeaderRules;
  readonly response: HeaderRules;
}

const compiled = new WeakMap<DownstreamApiOptions, ApiHeaderRules>();

/** Compiled at the first call for an API. @throws {ConfigurationError} for a field that no rule can open. */
export function headerRulesOf(api: DownstreamApiOptions): ApiHeaderRules {
  if (api.headers === undefined && api.actsAs !== "app") return DEFAULTS;
  let rules = compiled.get(api);
  if (rules === undefined) {
    const { name, headers } = api;
    const request = changed(REQUEST_RULES, headers?.request, `downstreamApis.${name}.headers.request`);
    rules = {
      request: api.actsAs === "app" ? forApplications(request) : request,
      response: changed(RESPONSE_RULES, headers?.response, `downstreamApis.${name}.headers.response`),
    };
    compiled.set(api, rules);
  }
  return rules;
}

const DEFAULTS: ApiHeaderRules = { request: REQUEST_RULES, response: RESPONSE_RULES };

/**
 * A route with `as: app` lends the application's rights to its callers, the right to act for any user often among
 * them. So it forwards listed fields alone, and no field that says who is calling, opened or not.
 */
function forApplications({ names, prefixes, allowed = new Set() }: HeaderRules): HeaderRules {
  const opened = [...allowed].filter((name) => !isDropped(IDENTITY_RULES, name));
  return { names, prefixes, allowed: new Set(opened), only: APPLICATION_FIELDS };
}

function changed(
  rules: HeaderRules,
  { allow = [], deny = [] }: HeaderRuleChanges = {},
  path: string,
): HeaderRules {
  const allowed = new Set(allow.map((name) => name.toLowerCase()));
  const denied = new Set(deny.map((name) => name.toLowerCase()));
  const faults = [...allowed]
    .filter((name) => isDropped(FIXED_RULES, name) || !/^[!#$%&'*+.^`|~0-9a-z-]+$/.test(name))
    .map((name) => ({ path: `${path}.allow`, problem: `"${name}" cannot be let through` }));
  if (faults.length > 0) throw new ConfigurationError(faults);
  return {
    names: new Set([...rules.names, ...denied]),
    prefixes: rules.prefixes,
    allowed: new Set([...allowed].filter((name) => !denied.has(name))),
  };
}
