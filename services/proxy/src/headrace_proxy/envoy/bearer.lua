-- Answers only requests with the bearer token in TOKEN_FILE. Without one that can be read it answers nobody.

local MOST_BYTES = 16 * 1024

local function read_token()
  local file = io.open(TOKEN_FILE, "rb")
  if not file then return "" end
  local text = file:read(MOST_BYTES) or ""
  file:close()
  return text:match("^%s*(.-)%s*$")
end

-- Takes equally long wherever two texts of one length differ.
local function equal(one, other)
  local difference = #one == #other and 0 or 1
  for i = 1, math.min(#one, #other) do
    difference = bit.bor(difference, bit.bxor(one:byte(i), other:byte(i)))
  end
  return difference == 0
end

function envoy_on_request(handle)
  -- A caller without a token must not keep this thread busy: no two repetitions that could share a text differently.
  local scheme, given = (handle:headers():get("authorization") or ""):match("^(%a+) +(%S+)$")
  local token = scheme and scheme:lower() == "bearer" and read_token() or ""
  if token ~= "" and equal(given, token) then return end
  handle:respond({[":status"] = "401", ["www-authenticate"] = "Bearer"}, "send the bearer token of metrics_token_file\n")
end
