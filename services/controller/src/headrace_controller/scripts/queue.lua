-- Who waits for what limits refuse; it stands after ledger.lua.

-- Returns a refusal as the record keeps it while the cluster waits.
local function reason(refused, wait)
  wait.subject, wait.resource, wait.used, wait.most = refused[2], refused[3], refused[4], refused[6]
  wait.asked = ask.demand[refused[3]] or 0
  return cmsgpack.pack(wait)
end

-- Returns a new turn of the owner. Users take turns: the turns of one follow each other at a distance of 1 / weight.
local function next_turn(weight)
  local number = redis.call('HINCRBY', key.queue_order, 'number', 1)
  local last = tonumber(redis.call('HGET', key.queue_turns, ask.owner) or 0)
  local turn = math.max(last, tonumber(redis.call('HGET', key.queue_order, 'turn') or 0)) + 1 / weight
  redis.call('HSET', key.queue_turns, ask.owner, turn)
  return turn + number / 1e9  -- who came first is first within a turn
end

-- Lets the cluster wait for what refuses it; what may never come waits in nobody's way. `wants` is what room is kept for, `wait`
-- what the record keeps besides.
local function enqueue(refused, wants, weight, wait)
  local now = redis.call('TIME')
  wait.since = wait.since or now[1] + now[2] / 1e6
  wait.turn = wait.turn or next_turn(weight)
  redis.call('HINCRBY', key.queue_each, ask.owner, 1)
  redis.call('ZADD', key.queue, wait.turn, ask.cluster)
  local at = wait.never and 'clusters/' .. ask.cluster or refused[2]
  redis.call('ZADD', ask.queue_at .. at, wait.turn, ask.cluster)
  redis.call('HSET', key.queue_wants, ask.cluster, cmsgpack.pack(wants))
  local queued = reason(refused, wait)
  redis.call('HSET', key.record, 'queued', queued, 'queued_at', at)
  if late then  -- who looks through the queue now may be past its place
    wake(at)
  end
  return queued
end

-- Takes the cluster out of the queue, if it waits there.
local function dequeue()
  local at = redis.call('HGET', key.record, 'queued_at')
  if not at or at == '' then
    return
  end
  redis.call('ZREM', key.queue, ask.cluster)
  redis.call('ZREM', ask.queue_at .. at, ask.cluster)
  redis.call('HDEL', key.queue_wants, ask.cluster)
  if redis.call('HINCRBY', key.queue_each, ask.owner, -1) <= 0 then
    redis.call('HDEL', key.queue_each, ask.owner)
    redis.call('HDEL', key.queue_turns, ask.owner)
  end
  redis.call('HSET', key.record, 'queued_at', '')
  for _, subject in ipairs(unpacked('charged_to')) do
    if redis.call('ZREM', ask.held .. subject, ask.cluster) == 1 then
      wake(subject)
    end
  end
end

-- Returns the first group whose workers wait and of which limits allow one more if nothing else is used, and false. If there is
-- none: the first whose workers wait, and true.
local function next_group(granted)
  local first
  for _, group in ipairs(ask.growth.groups) do
    if granted[group.name] then
      demand_more(group, 1)
      local never = impossible()
      demand_more(group, -1)
      if not never then
        return group, false
      end
      first = first or group
    end
  end
  return first, true
end

-- Has workers of a living cluster wait that fit() does not let it have, or ends that wait. `served`: its turn is over.
local function wait_for_workers(refused, granted, served)
  local before, last = unpacked('queued'), redis.call('HGET', key.queue_turns, ask.owner)
  local kept = before.granted and not served
  dequeue()
  if not granted then
    if before.granted then
      before.granted = nil
      redis.call('HSET', key.record, 'queued', cmsgpack.pack(before))
    end
    return
  end
  if kept then
    redis.call('HSET', key.queue_turns, ask.owner, last)
  end
  local group, never = next_group(granted)
  enqueue(refused, group.each, ask.growth.weight, {
    since = kept and before.since,
    turn = kept and before.turn,
    never = never,
    admitted = before.admitted or ask.growth.begun,
    granted = granted,
  })
end
