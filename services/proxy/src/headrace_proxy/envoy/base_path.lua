-- Removes BASE, the base path, from requests that came with it, and puts it before the paths in their answers: redirects
-- to the same host, and cookies.

local NAMESPACE = "headrace.base_path"

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path")
  local rest = path:sub(#BASE + 1)
  if path:sub(1, #BASE) ~= BASE or not rest:find("^[/?]") then return end
  headers:replace(":path", rest:sub(1, 1) == "/" and rest or "/" .. rest)
  handle:streamInfo():dynamicMetadata():set(NAMESPACE, "host", headers:get(":authority"))
end

function envoy_on_response(handle)
  local metadata = handle:streamInfo():dynamicMetadata():get(NAMESPACE)
  if not metadata then return end
  local headers = handle:headers()
  local location, cookie = headers:get("location"), headers:get("set-cookie")
  if location then
    local host, path = location:match("^https?://([^/]+)(.*)$")
    if host == metadata.host then location = path end
    if location:find("^/") and not location:find("^//") then headers:replace("location", BASE .. location) end
  end
  if cookie then headers:replace("set-cookie", (cookie:gsub("; Path=/", "; Path=" .. BASE .. "/", 1))) end
end
