-- Returns what asks obo-gateway about a request, unless its decision is kept: one that lets pass sets the fields for the API, any other is the answer.

-- Decisions by the caller's whole token, and then by all else that they depend on: no two callers share one. Each worker keeps
-- its own, in two generations of so many bytes of text; one that is used stays, the others leave with their generation.
local MOST_BYTES = 16 * 1024 * 1024
local young, old, bytes = {}, {}, 0

-- Fields of a refusal that its caller gets.
local REFUSAL = {
  "content-type", "cache-control", "www-authenticate", "retry-after", "allow", "ratelimit", "ratelimit-policy",
  "x-correlation-id",
}

local function keep(authorization, question, decision)
  local decisions = young[authorization]
  if decisions == nil then
    decisions = {}
    young[authorization] = decisions
    bytes = bytes + #authorization
  end
  if decisions[question] == nil then bytes = bytes + #question + #decision.authorization + #decision.user + 200 end
  decisions[question] = decision
  if bytes >= MOST_BYTES then
    young, old, bytes = {}, young, 0
  end
end

local function recall(authorization, question)
  local decisions = young[authorization]
  local decision = decisions and decisions[question]
  if decision == nil then
    decisions = old[authorization]
    decision = decisions and decisions[question]
    if decision ~= nil and decision.ends > ngx.now() then keep(authorization, question, decision) end
  end
  if decision ~= nil and decision.ends > ngx.now() then return decision end
  return nil
end

local function pass(var, decision)
  var.obo_authorization = decision.authorization
  var.obo_correlation_id = decision.correlation_id
  var.obo_user = decision.user
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
  ngx.status = status
  for _, name in ipairs(REFUSAL) do ngx.header[name] = fields[name] end
  ngx.header["content-length"] = #body
  ngx.print(body)
  return ngx.exit(ngx.HTTP_OK)
end

local function decide()
  local var = ngx.var
  -- A job that acts for a user by Delegation may lose that right at any time: its decisions are not kept.
  local authorization = var.http_delegation == nil and var.http_authorization or nil
  -- A line break is in none of the three.
  local question = var.request_uri .. "\n" .. var.request_method .. "\n" .. var.obo_route
  local kept = authorization and recall(authorization, question)
  if kept then return pass(var, kept) end

  local answer = ngx.location.capture("/_obo/decide", { copy_all_vars = true })
  local fields = fieldsOf(answer)

  if answer.status == 200 and (fields["authorization"] or "") ~= "" and not answer.truncated then
    -- The gateway says so only of what may be kept, and never for longer than the tokens live.
    local seconds = tonumber(string.match(fields["cache-control"] or "", "max%-age=(%d+)")) or 0
    local decision = {
      authorization = fields["authorization"],
      correlation_id = fields["x-correlation-id"] or "",
      user = fields["x-auth-request-user"] or "",
      ends = ngx.now() + seconds,
    }
    if authorization and seconds > 0 then keep(authorization, question, decision) end
    return pass(var, decision)
  end

  -- Each refusal of the gateway has this field. Without it there was no answer of the gateway, and nothing passes without a decision.
  if fields["x-obo-problem"] == nil then return ngx.exit(ngx.HTTP_SERVICE_UNAVAILABLE) end
  return refuse(answer.status, fields, answer.body)
end

return decide
