-- Charges a cluster that has not ended by the policy in force, if it is charged otherwise. No limit refuses that.
-- ask   seen (revision that the caller has read), demand, charged_to
-- Answers {'done', revision, revision before, meter}, {'again'} (read again) or {'same'}
local function same(one, other)
  for _, pair in ipairs({ { one, other }, { other, one } }) do
    for name, value in pairs(pair[1]) do
      if (pair[2][name] or 0) ~= value then
        return false
      end
    end
  end
  return true
end

local before, spec_revision, ended, at = unpack(
  redis.call('HMGET', key.record, 'revision', 'spec_revision', 'ended', 'queued_at'))
if not before or ended ~= '' then
  return { 'same' }
elseif tonumber(spec_revision) > tonumber(ask.seen) then
  return { 'again' }
end
local waits = (at or '') ~= '' and not unpacked('queued').granted
local demand = waits and {} or ask.demand
if same(unpacked('promised'), demand) and same(set_of(unpacked('charged_to')), set_of(ask.charged_to)) then
  return { 'same' }
end
local revision = announce('record')
redis.call('HSET', key.record, 'revision', revision)
promise(demand, ask.charged_to)
return { 'done', revision, before, metered() }
