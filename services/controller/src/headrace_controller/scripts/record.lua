-- What the scripts that write a record share; it stands before each of them.
-- KEYS  in the order of `ask.keys`, which names them: record, workers, events, ... as in keys.py, and the script's own
-- ARGV  one msgpack map, `ask`: keys, cluster, owner, usage, queue_at and held (prefixes of keys by subject), events (msgpack
--       each), and what the script's head lists. Revisions are text, because Lua writes large numbers with an exponent.
local ask = cmsgpack.unpack(ARGV[1])
local key = {}
for n, name in ipairs(ask.keys) do
  key[name] = KEYS[n]
end

local CHANGES_KEPT, EVENTS_KEPT, ROUTES_KEPT, REMOVALS_KEPT = 50000, 1000, 50000, 256

local function digits(number)
  return string.format('%.0f', number)
end

-- Returns the revision of this write: the time in microseconds, or the latest revision + 1. So none ever comes twice, not even
-- after Redis was emptied or has lost its latest writes.
local function next_revision()
  local now = redis.call('TIME')
  return digits(math.max((redis.call('GET', key.version) or 0) + 1, now[1] * 1000000 + now[2]))
end

-- Announces a write of this kind; returns its revision. If it cannot be announced, nothing was written: readers would wait
-- for the announcement of a latest revision for ever.
local function announce(kind)
  local revision = next_revision()
  redis.call('XADD', key.changes, 'MAXLEN', '~', CHANGES_KEPT, '*',
    'kind', kind, 'cluster', ask.cluster, 'owner', ask.owner, 'revision', revision)
  redis.call('SET', key.version, revision)
  return revision
end

-- Announces a write of one part of the record and notes its revision.
local function written(part, kind)
  local revision = announce(kind)
  redis.call('HSET', key.record, 'revision', revision, part .. '_revision', revision)
  return revision
end

-- Writes or removes (false) one part of some workers: `pieces` by worker.
local function write_workers(part, pieces, revision)
  for worker, piece in pairs(pieces) do
    local field = part .. '/' .. worker
    if piece then
      redis.call('HSET', key.workers, field, piece)
    else
      redis.call('HDEL', key.workers, field)
    end
    redis.call('ZADD', key.touched, revision, worker)
  end
  if redis.call('ZCARD', key.touched) <= redis.call('HLEN', key.workers) + REMOVALS_KEPT then
    return
  end
  for _, worker in ipairs(redis.call('ZRANGE', key.touched, 0, -1)) do
    local fields = redis.call('HMGET', key.workers, 'worker/' .. worker, 'report/' .. worker)
    if not fields[1] and not fields[2] then
      redis.call('ZREM', key.touched, worker)
    end
  end
  redis.call('HSET', key.record, 'complete_from', revision)
end

-- Adds the events; returns the id of the last.
local function add_events()
  local id = false
  for _, event in ipairs(ask.events) do
    id = redis.call('XADD', key.events, 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', event)
    redis.call('XADD', key.changes, 'MAXLEN', '~', CHANGES_KEPT, '*',
      'kind', 'event', 'cluster', ask.cluster, 'owner', ask.owner, 'revision', 0, 'event', event, 'event_id', id)
  end
  return id
end

-- Reads a map or list from a field of the record; empty if there is none.
local function unpacked(field)
  local packed = redis.call('HGET', key.record, field)
  return packed and cmsgpack.unpack(packed) or {}
end

-- Returns the subjects of a list as a set.
local function set_of(list)
  local set = {}
  for _, member in ipairs(list) do
    set[member] = true
  end
  return set
end

-- Returns what another cluster, which has waited for long, has been kept of a subject's room; empty if there is none.
local function held(subject)
  local first = redis.call('ZRANGE', ask.held .. subject, 0, 0)[1]
  local wants = first and first ~= ask.cluster and redis.call('HGET', key.queue_wants, first)
  return wants and cmsgpack.unpack(wants) or {}
end

-- Returns {'limit', subject, resource, used, had, limit} of the first limit that refuses `ask.demand`, or nil.
-- A limit has a subject and bounds, which are pairs of a resource and a number.
local function refusal()
  local had, charged = unpacked('promised'), set_of(unpacked('charged_to'))
  local queue = redis.call('EXISTS', key.queue) == 1
  for _, limit in ipairs(ask.limits) do
    local own, kept = limit.subject == 'clusters/' .. ask.cluster, nil
    for _, bound in ipairs(limit.bounds) do
      local resource, most = bound[1], bound[2]
      local mine, wanted = had[resource] or 0, ask.demand[resource] or 0
      if wanted > mine then
        local others = 0
        if not own then
          others = tonumber(redis.call('HGET', ask.usage .. limit.subject, resource) or 0)
          if charged[limit.subject] then
            others = others - mine
          end
          kept = kept or queue and held(limit.subject) or {}
          others = others + (kept[resource] or 0)
        end
        if others + wanted > most then
          return { 'limit', limit.subject, resource, others + mine, mine, most }
        end
      end
    end
  end
end

-- Returns as refusal() if others wait for room that has just become free: they come first.
local function overtaking()
  local had = unpacked('promised')
  for _, limit in ipairs(ask.limits) do
    local bound = limit.bounds[1]
    if bound and redis.call('ZSCORE', key.queue_freed, limit.subject)
      and redis.call('EXISTS', ask.queue_at .. limit.subject) == 1 then
      local used = tonumber(redis.call('HGET', ask.usage .. limit.subject, bound[1]) or 0)
      return { 'limit', limit.subject, bound[1], used, had[bound[1]] or 0, bound[2] }
    end
  end
end

-- As refusal(), for a limit that would refuse `ask.demand` even if nothing else were used.
local function impossible()
  for _, limit in ipairs(ask.limits) do
    for _, bound in ipairs(limit.bounds) do
      if (ask.demand[bound[1]] or 0) > bound[2] then
        return { 'limit', limit.subject, bound[1], 0, 0, bound[2] }
      end
    end
  end
end

-- Adds workers of a group to `ask.demand`.
local function demand_more(group, number)
  for resource, amount in pairs(group.each) do
    ask.demand[resource] = (ask.demand[resource] or 0) + number * amount
  end
end

-- Lowers `ask.demand` to what there is room for, if the policy lets workers wait (`ask.growth`). Returns what refuses the rest, as
-- refusal(), and how many workers each group has that gets fewer than are wanted; nil if not even what it had is allowed.
-- `first`: its turn has come; otherwise others come first that wait for room that has just become free.
local function fit(first)
  local grows = ask.growth and #ask.growth.groups > 0
  local late = grows and not first and overtaking()
  local refused = refusal() or late
  if not refused or not grows then
    return refused
  end
  for _, group in ipairs(ask.growth.groups) do
    demand_more(group, group.had - group.wanted)
  end
  if refusal() then
    return refused
  end
  local granted, short = {}, nil
  for _, group in ipairs(ask.growth.groups) do
    local more = late and 0 or group.wanted - group.had
    demand_more(group, more)
    local over = refusal()
    while over and more > 0 do
      local resource, room = over[3], over[6] - (over[4] - over[5])
      local fewer = math.min(more, math.max(1, math.ceil((ask.demand[resource] - room) / (group.each[resource] or 0))))
      demand_more(group, -fewer)
      more, short = more - fewer, short or over
      over = refusal()
    end
    if group.had + more < group.wanted then
      granted[group.name] = group.had + more
    end
  end
  short = short or refused
  short[4] = short[4] - short[5] + (ask.demand[short[3]] or 0)
  return short, granted
end

-- Has those tried again that wait for room of a subject.
local function wake(subject)
  if redis.call('EXISTS', ask.queue_at .. subject) == 0 then
    return
  end
  if redis.call('ZADD', key.queue_freed, redis.call('TIME')[1], subject) == 1 then
    redis.call('XADD', key.changes, 'MAXLEN', '~', CHANGES_KEPT, '*',
      'kind', 'queue', 'cluster', '', 'owner', '', 'revision', 0)
  end
end

-- Promises the record these resources instead of those that it has, and charges them to these subjects instead of those to whom
-- it was charged (nil: to the same).
local function promise(demand, subjects)
  local charged = unpacked('charged_to')
  local more = {}
  local function add(subject, amounts, sign)
    more[subject] = more[subject] or {}
    for resource, amount in pairs(amounts) do
      more[subject][resource] = (more[subject][resource] or 0) + sign * amount
    end
  end
  local had = unpacked('promised')
  for _, subject in ipairs(charged) do
    add(subject, had, -1)
  end
  for _, subject in ipairs(subjects or charged) do
    add(subject, demand, 1)
  end
  local queue = redis.call('EXISTS', key.queue) == 1
  for subject, amounts in pairs(more) do
    local usage, freed = ask.usage .. subject, false
    for resource, amount in pairs(amounts) do
      if amount ~= 0 and redis.call('HINCRBY', usage, resource, digits(amount)) == 0 then
        redis.call('HDEL', usage, resource)
      end
      freed = freed or amount < 0
    end
    if queue and freed then
      wake(subject)
    end
  end
  redis.call('HSET', key.record, 'promised', cmsgpack.pack(demand))
  if subjects then
    redis.call('HSET', key.record, 'charged_to', cmsgpack.pack(subjects))
  end
  meter(ask, key.record, demand)
end

-- Returns the record's meter (see usage.lua); '' if it has none.
local function metered()
  return redis.call('HGET', key.record, 'meter') or ''
end

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

-- Notes that the record may not change any more, and frees its alias.
local function begin_stop()
  redis.call('HSET', key.record, 'stopping', '1')
  dequeue()
  local alias = redis.call('HGET', key.record, 'alias')
  if redis.call('HGET', key.aliases, alias) == ask.cluster then
    redis.call('HDEL', key.aliases, alias)
  end
end

-- Writes the cluster's route if it is new; '' removes it.
local function write_route(route)
  local before = redis.call('HGET', key.routes, ask.cluster) or ''
  if before == route then
    return
  elseif route == '' then
    redis.call('HDEL', key.routes, ask.cluster)
  else
    redis.call('HSET', key.routes, ask.cluster, route)
  end
  local id = redis.call('XADD', key.route_log, 'MAXLEN', '~', ROUTES_KEPT, '*', 'cluster', ask.cluster, 'route', route)
  redis.call('HSET', key.record, 'route_version', id)
end

