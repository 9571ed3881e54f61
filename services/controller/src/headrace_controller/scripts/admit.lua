-- Admits a cluster that waits in the queue if no limit refuses it; else it waits for the first that does. One that has started and
-- waits for more workers gets as many as there is room for, and waits for the others after those that are behind it.
-- ask   seen (revision that the caller has read), demand, growth (see change.lua), limits, charged_to, patience (seconds after which
--       room is kept for it)
-- Answers {'admitted', revision, revision before, meter, its wait (msgpack)}, {'refused', subject}, {'gone'} (it waits no more),
--       {'again'} (read again)

-- Returns whether any group gets more workers than it had.
local function grows(granted)
  for _, group in ipairs(ask.growth.groups) do
    if (granted[group.name] or group.wanted) > group.had then
      return true
    end
  end
end

local before, spec_revision, at = unpack(redis.call('HMGET', key.record, 'revision', 'spec_revision', 'queued_at'))
if not at or at == '' then
  return { 'gone' }
elseif tonumber(spec_revision) > tonumber(ask.seen) then
  return { 'again' }
end
local time, turn, wait = redis.call('TIME'), redis.call('ZSCORE', key.queue, ask.cluster), unpacked('queued')
local now = time[1] + time[2] / 1e6

local refused, granted
if wait.granted then
  refused, granted = fit(true)
else
  refused = impossible()
end
local never = refused ~= nil
refused = refused or refusal()
if not refused or granted and grows(granted) then
  if tonumber(turn) > tonumber(redis.call('HGET', key.queue_order, 'turn') or 0) then
    redis.call('HSET', key.queue_order, 'turn', turn)
  end
  local revision = written('spec', 'record')
  promise(ask.demand, ask.charged_to)
  if wait.granted then
    wait_for_workers(refused, granted, true)
  else
    dequeue()
    wait.admitted = now
    redis.call('HSET', key.record, 'queued', cmsgpack.pack(wait))
  end
  add_events()
  return { 'admitted', revision, before, metered(), redis.call('HGET', key.record, 'queued') }
end

local subject = refused[2]
if wait.granted then
  local group
  group, never = next_group(granted or wait.granted)
  redis.call('HSET', key.queue_wants, ask.cluster, cmsgpack.pack(group and group.each or {}))
  subject = never and 'clusters/' .. ask.cluster or subject
end

-- After long, room is kept for it: of what refuses it, and of what it would have had before that.
local keep = not never and now - wait.since >= ask.patience
for _, limit in ipairs(ask.limits) do
  if keep and limit.subject ~= 'clusters/' .. ask.cluster then
    redis.call('ZADD', ask.held .. limit.subject, turn, ask.cluster)
  elseif redis.call('ZREM', ask.held .. limit.subject, ask.cluster) == 1 then
    wake(limit.subject)
  end
  keep = keep and limit.subject ~= subject
end
if subject ~= at then
  redis.call('ZREM', ask.queue_at .. at, ask.cluster)
  redis.call('ZADD', ask.queue_at .. subject, turn, ask.cluster)
  redis.call('HSET', key.record, 'queued_at', subject)
end
if refused[2] ~= wait.subject or refused[3] ~= wait.resource or never ~= (wait.never or false) then
  wait.never = never
  written('spec', 'record')
  redis.call('HSET', key.record, 'queued', reason(refused, wait))
end
return { 'refused', subject }
