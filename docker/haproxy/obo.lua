-- Asks obo-gateway about each request: a decision that lets pass sets the field for the API, any other is the answer.

-- Fields of a decision that reach the API, besides identity fields (x-auth-request-…).
local GRANTED = { ["authorization"] = true, ["x-correlation-id"] = true }
-- Fields of a refusal that HAProxy writes by itself.
local OWN = { ["content-length"] = true, ["connection"] = true, ["keep-alive"] = true, ["transfer-encoding"] = true }

local function values(headers, name)
  local found = {}
  local list = headers[name]
  if list == nil then return found end
  local index = 0
  while list[index] ~= nil do
    table.insert(found, list[index])
    index = index + 1
  end
  return found
end

local function refuse(txn, status, fields, body)
  local reply = txn:reply({ status = status })
  for name, list in pairs(fields) do
    if not OWN[name] and name ~= "x-obo-problem" then
      local index = 0
      while list[index] ~= nil do
        reply:add_header(name, list[index])
        index = index + 1
      end
    end
  end
  if body ~= nil then reply:set_body(body) end
  txn:done(reply)
end

core.register_action("obo_decide", { "http-req" }, function(txn, gateway, route)
  local asked = txn.http:req_get_headers()
  local headers = {
    ["host"] = { "localhost" },
    ["x-original-uri"] = { txn.sf:pathq() },
    ["x-original-method"] = { txn.sf:method() },
  }
  -- Both of two fields, so that the gateway sees that there are two.
  for _, name in ipairs({ "authorization", "delegation", "x-correlation-id", "traceparent", "tracestate" }) do
    local list = values(asked, name)
    if #list > 0 then headers[name] = list end
  end
  local answer = core.httpclient():get({ url = gateway .. "/forward-auth" .. route, headers = headers, timeout = 15000 })
  if answer == nil or answer.status == nil or answer.status == 0 then
    return refuse(txn, 503, { ["retry-after"] = { [0] = "5" } }, nil)
  end
  if answer.status ~= 200 then
    return refuse(txn, answer.status, answer.headers, answer.body)
  end
  txn.http:req_del_header("authorization")
  for name, list in pairs(answer.headers) do
    if GRANTED[name] or string.find(name, "x-auth-request-", 1, true) == 1 then
      txn.http:req_set_header(name, list[0])
    end
  end
end, 2)
