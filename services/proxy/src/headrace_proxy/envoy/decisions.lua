-- Remembers for some seconds that auth let a session open a dashboard: a page has dozens of files, and each would be
-- asked about again. Each worker thread of Envoy has a memory of its own.
--
-- Only plain reads of a path with a session in it are let through by memory; everything else is for auth.
-- In what auth remembers for us ("envoy.filters.http.ext_authz"): destination, key, seconds.

local MOST = 2000
local PREFIX = "^/clusters/[a-z0-9-]+/~[A-Za-z0-9._-]+/"
local NAMESPACE = "headrace.decisions"

-- Two generations: when the younger one is full, the older one is forgotten.
local young, old, count = {}, {}, 0

local function recall(name, now)
  local decision = young[name] or old[name]
  if decision and now < decision.ends then return decision end
end

local function remember(name, decision)
  if count >= MOST then young, old, count = {}, young, 0 end
  if not young[name] then count = count + 1 end
  young[name] = decision
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local prefix = path:match(PREFIX)
  if not prefix or headers:get(":method") ~= "GET" then return end
  if headers:get("upgrade") or headers:get("authorization") then return end
  if path:find("[%%\\#]") or path:find("[?&]link=") then return end
  local name = headers:get(":authority") .. prefix
  local decision = recall(name, handle:timestamp())
  local metadata = handle:streamInfo():dynamicMetadata()
  if decision then
    headers:replace("x-envoy-original-dst-host", decision.destination)
    headers:replace("x-headrace-dashboard-key", decision.key)
    metadata:set(NAMESPACE, "known", true)
  else
    metadata:set(NAMESPACE, "name", name)
  end
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata()
  local asked, answer = metadata:get(NAMESPACE), metadata:get("envoy.filters.http.ext_authz")
  if not asked or not asked.name or not answer or not answer.destination then return end
  local ends = handle:timestamp() + answer.seconds * 1000
  remember(asked.name, {destination = answer.destination, key = answer.key, ends = ends})
end
