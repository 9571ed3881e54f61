-- What the scripts that write a record share; it stands before each of them.
-- KEYS 1 record (hash)  2 its events (stream)  3 changes (stream)  4 version (string)  5 the owner's version (string)
--      6 usage (hash)  7 the owner's usage (hash)  8 living (zset)  9 the owner's living (zset)  10 ended (zset)
--      11 the owner's ended (zset)  12 the owner's aliases (hash)  13 retention (zset)  14 routes (hash)  15 route log (stream)
--      16 the script's own
-- ARGV 1 cluster  2 owner, then the script's own, last the events (msgpack, any number)
local record, events, changes, version, owner_version, usage, owner_usage, living, owner_living, ended, owner_ended,
  aliases, retention, routes, route_log = unpack(KEYS)
local cluster, owner = ARGV[1], ARGV[2]

local CHANGES_KEPT, EVENTS_KEPT, ROUTES_KEPT = 50000, 1000, 50000
local OWNER_VERSION_SECONDS = 30 * 86400
local RESOURCES = { 'clusters', 'workers', 'cores_milli', 'memory_bytes' }

local function digits(number)
  return string.format('%.0f', number)
end

-- Returns the version of this write. It starts at the time, so that an emptied Redis never repeats one.
local function next_version()
  local number = redis.call('INCR', version)
  if number == 1 then
    local now = redis.call('TIME')
    number = now[1] * 1000000 + now[2]
    redis.call('SET', version, digits(number))
  end
  redis.call('SET', owner_version, digits(number), 'EX', OWNER_VERSION_SECONDS)
  return digits(number)
end

-- Counts a write of one part of the record and tells of it; returns the new revision.
local function written(kind)
  local revision = redis.call('HINCRBY', record, 'revision', 1)
  redis.call('XADD', changes, 'MAXLEN', '~', CHANGES_KEPT, '*',
    'kind', kind, 'cluster', cluster, 'owner', owner, 'revision', revision)
  return revision
end

-- Adds the events from this argument on; returns the id of the last.
local function tell(first)
  local id = false
  for n = first, #ARGV do
    id = redis.call('XADD', events, 'MAXLEN', '~', EVENTS_KEPT, '*', 'event', ARGV[n])
    redis.call('XADD', changes, 'MAXLEN', '~', CHANGES_KEPT, '*',
      'kind', 'event', 'cluster', cluster, 'owner', owner, 'revision', 0, 'event', ARGV[n], 'event_id', id)
  end
  return id
end

-- Returns the first limit that refuses the record the demand in the four arguments from `demand` on, or nil.
-- A limit is five arguments, from `first` on: whose ('cluster', 'owner', 'deployment'), then its bound ('': none) of each resource.
local function refusal(demand, first, count)
  for limit = 1, count do
    local whose = first + (limit - 1) * 5
    for n, resource in ipairs(RESOURCES) do
      local has = redis.call('HGET', record, resource) or '0'
      local used = has
      if ARGV[whose] == 'owner' then
        used = redis.call('HGET', owner_usage, resource) or '0'
      elseif ARGV[whose] == 'deployment' then
        used = redis.call('HGET', usage, resource) or '0'
      end
      local bound, asked = ARGV[whose + n], ARGV[demand + n - 1] - has
      if bound ~= '' and asked > 0 and used + asked > tonumber(bound) then
        return { 'limit', limit, n, used, has }
      end
    end
  end
end

-- Promises the record this much of each resource instead of what it has.
local function promise(demand)
  for n, resource in ipairs(RESOURCES) do
    local more = demand[n] - (redis.call('HGET', record, resource) or 0)
    if more ~= 0 then
      redis.call('HINCRBY', usage, resource, digits(more))
      redis.call('HINCRBY', owner_usage, resource, digits(more))
    end
    redis.call('HSET', record, resource, demand[n])
  end
  if redis.call('HGET', owner_usage, 'clusters') == '0' then
    redis.call('DEL', owner_usage)
  end
end

local function free_alias()
  local alias = redis.call('HGET', record, 'alias')
  if redis.call('HGET', aliases, alias) == cluster then
    redis.call('HDEL', aliases, alias)
  end
end

