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

-- Returns the revision of this write: the time in microseconds, or the latest revision + 1. So none ever comes twice, not even
-- after Redis was emptied or has lost its latest writes.
local function next_revision()
  local now = redis.call('TIME')
  return string.format('%.0f', math.max((redis.call('GET', key.version) or 0) + 1, now[1] * 1000000 + now[2]))
end

-- Announces a write of this kind; returns its revision. If it cannot be announced, nothing was written: readers would wait
-- for the announcement of a latest revision without end.
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

-- Marks the record as one that may not change any more, and frees its alias.
local function begin_stop()
  redis.call('HSET', key.record, 'stopping', '1')
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
