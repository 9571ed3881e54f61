-- Adds what was measured of clusters to their rows of a day; usage.lua stands before it.
-- KEYS  the record of each
-- ARGV  one msgpack map, `ask`: used_by (prefix), measured (of each cluster: cluster, owner, day, sums by measure)
local ask = cmsgpack.unpack(ARGV[1])
for n, one in ipairs(ask.measured) do
  local kept = redis.call('HGET', KEYS[n], 'account')
  if kept then
    local account = cmsgpack.unpack(kept)
    local rows = ask.used_by .. one.day .. ':' .. one.owner
    local row = row_of(rows, one.cluster, account)
    for measure, amount in pairs(one.sums) do
      if amount > 0 then
        redis.pcall('HINCRBY', rows, 'measured-' .. measure .. ' ' .. row, whole(amount))
      end
    end
    redis.call('EXPIREAT', rows, whole((one.day + 1 + account.row_days) * DAY_MS / 1000))
  end
end
