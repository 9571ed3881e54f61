-- What limits refuse and what clusters are promised; it stands after usage.lua and record.lua.
-- ask   demand, limits (in the order in which they are checked), growth (see change.lua)

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
        local others, reserved = 0, 0
        if not own then
          others = tonumber(redis.call('HGET', ask.usage .. limit.subject, resource) or 0)
          if charged[limit.subject] then
            others = others - mine
          end
          kept = kept or queue and held(limit.subject) or {}
          reserved = kept[resource] or 0
        end
        if others + reserved + wanted > most then
          local used = others + mine  -- what is kept for another cluster counts as used, as far as there is room for it
          return { 'limit', limit.subject, resource, math.max(used, math.min(used + reserved, most)), mine, most }
        end
      end
    end
  end
end

-- Whether overtaking() has refused something.
local late = false

-- Returns as refusal() if others wait for room that has just become free: they come first.
local function overtaking()
  local had = unpacked('promised')
  for _, limit in ipairs(ask.limits) do
    local bound = limit.bounds[1]
    if bound and redis.call('ZSCORE', key.queue_freed, limit.subject)
      and redis.call('EXISTS', ask.queue_at .. limit.subject) == 1 then
      late = true
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
  local others_first = grows and not first and overtaking()
  local refused = refusal() or others_first
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
    local more = others_first and 0 or group.wanted - group.had
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
  local time = redis.call('TIME')
  if redis.call('ZADD', key.queue_freed, time[1] + time[2] / 1e6, subject) == 1 then
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
      if amount ~= 0 and redis.call('HINCRBY', usage, resource, whole(amount)) == 0 then
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
