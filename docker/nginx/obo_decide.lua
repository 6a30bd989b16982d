-- Returns what asks obo-gateway about a request, unless its decision is kept: one that lets pass sets the fields for the API, any other is the answer.

local decisions = ngx.shared.obo_decisions
local find, sub = string.find, string.sub

-- Fields of a refusal that its caller gets.
local REFUSAL = {
  "content-type", "cache-control", "www-authenticate", "retry-after", "allow", "ratelimit", "ratelimit-policy",
  "x-correlation-id",
}

-- All that a decision depends on; a line break is in none of them. The whole token is in it, so that no two callers share
-- a decision. A job that acts for a user by Delegation may lose that right at any time: its decisions are not kept.
local function keyOf(var)
  local authorization = var.http_authorization
  if authorization == nil or var.http_delegation ~= nil then return nil end
  return var.obo_route .. "\n" .. var.request_method .. "\n" .. var.request_uri .. "\n" .. authorization
end

local function pass(var, decision)
  local first = find(decision, "\n", 1, true)
  local second = find(decision, "\n", first + 1, true)
  var.obo_authorization = sub(decision, 1, first - 1)
  var.obo_correlation_id = sub(decision, first + 1, second - 1)
  var.obo_user = sub(decision, second + 1)
end

-- In lower case, and of each field the one value; a field that came twice is none of the gateway's.
local function fieldsOf(answer)
  local fields = {}
  for name, value in pairs(answer.header) do
    if type(value) == "string" then fields[string.lower(name)] = value end
  end
  return fields
end

local function refuse(status, fields, body)
  -- What is left of the body must not be read as the next request of the connection.
  ngx.req.discard_body()
  ngx.status = status
  for _, name in ipairs(REFUSAL) do ngx.header[name] = fields[name] end
  ngx.header["content-length"] = #body
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

local function decide()
  local var = ngx.var
  local key = keyOf(var)
  local kept = key and decisions:get(key)
  if kept then return pass(var, kept) end

  local answer = ngx.location.capture("/_obo/decide", { copy_all_vars = true })
  local fields = fieldsOf(answer)

  if answer.status == 200 and (fields["authorization"] or "") ~= "" and not answer.truncated then
    local decision = fields["authorization"]
      .. "\n" .. (fields["x-correlation-id"] or "")
      .. "\n" .. (fields["x-auth-request-user"] or "")
    -- The gateway says so only of what may be kept, and never for longer than the tokens live.
    local seconds = tonumber(string.match(fields["cache-control"] or "", "max%-age=(%d+)"))
    if key and seconds and seconds > 0 then decisions:set(key, decision, seconds) end
    return pass(var, decision)
  end

  -- Each refusal of the gateway has this field. Without it there was no answer of the gateway, and nothing passes without a decision.
  if fields["x-obo-problem"] == nil then return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE) end
  return refuse(answer.status, fields, answer.body)
end

return decide
