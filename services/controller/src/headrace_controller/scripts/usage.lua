-- Adds up what the clusters were promised, times how long; it stands before ledger.lua, whose `promise` calls `meter`.
-- A record has three fields for it, in msgpack:
--   meter    since (ms; everything before is added up), rates (what it is promised since then), spent (sums since its creation),
--            currency
--   account  where its sums go: subjects, labels and others (opaque here: what a row is about), prices (nil: those it had),
--            currency, days, row_days, rows
--   labels   those of the account, for readers of what is not added up yet
-- The sums are whole numbers in hashes that expire:
--   used:<day>            '<measure> <subject>', 'member <subject>\n<owner>'
--   used-by:<day>:<owner> '<measure> <row>', 'labels <row>', 'rows' (how many there are)
-- A day is a number of days since the epoch, in UTC. Sums are of the amount times milliseconds: clusters, workers, thousandths of
-- cores, MiB, GPUs; and the cost in billionths of the currency, whose rate is per hour.
local MEASURES = { 'clusters', 'workers', 'cores', 'memory', 'gpus', 'cost' }
local DAY_MS, HOUR_MS, LOW, MOST = 86400000, 3600000, 2 ^ 20, 2 ^ 34

local function whole(number)
  return string.format('%.0f', number)
end

-- Returns what a demand uses per millisecond, and costs per hour.
local function rates_of(demand, prices)
  local rates = {}
  for measure, amount in pairs({
    clusters = demand.clusters or 0,
    workers = demand.workers or 0,
    cores = demand.cores_milli or 0,
    memory = math.ceil((demand.memory_bytes or 0) / LOW),
    gpus = demand.gpus or 0,
  }) do
    rates[measure] = math.min(amount, MOST)
  end
  rates.cost = rates.cores * prices.cores + rates.memory * prices.memory + rates.gpus * prices.gpus
  return rates
end

-- Returns whole numbers whose sum is what a rate makes in some milliseconds of a day. Each is exact as a double.
local function parts_of(measure, rate, ms)
  if measure == 'cost' then
    return { math.floor(math.min(rate * ms / HOUR_MS, 2 ^ 52) + 0.5) }
  end
  local low = rate % LOW
  return { low * ms, (rate - low) * ms }
end

local function add(hash, name, rates, ms)
  for _, measure in ipairs(MEASURES) do
    for _, part in ipairs(parts_of(measure, rates[measure], ms)) do
      if part > 0 then
        redis.pcall('HINCRBY', hash, measure .. ' ' .. name, whole(part)) -- a sum that is full (2^63) stays as it is
      end
    end
  end
end

-- Returns the row of a cluster in a hash of its owner's day. Beyond the number of rows that are kept, clusters share one.
local function row_of(hash, cluster, account)
  local row = cluster .. ' ' .. string.sub(redis.sha1hex(account.labels), 1, 12)
  if redis.call('HEXISTS', hash, 'labels ' .. row) == 1 then
    return row
  elseif tonumber(redis.call('HGET', hash, 'rows') or 0) < account.rows then
    redis.call('HINCRBY', hash, 'rows', 1)
    redis.call('HSET', hash, 'labels ' .. row, account.labels)
    return row
  end
  row = 'others ' .. string.sub(redis.sha1hex(account.others), 1, 12)
  redis.call('HSET', hash, 'labels ' .. row, account.others)
  return row
end

-- Adds what was used on one day.
local function add_day(ask, day, account, rates, ms)
  local totals = ask.used .. day
  for _, subject in ipairs(account.subjects) do
    add(totals, subject, rates, ms)
    redis.call('HSET', totals, 'member ' .. subject .. '\n' .. ask.owner, '') -- whose rows are in a sum
  end
  redis.call('EXPIREAT', totals, whole((day + 1 + account.days) * DAY_MS / 1000))
  local rows = ask.used_by .. day .. ':' .. ask.owner
  add(rows, row_of(rows, ask.cluster, account), rates, ms)
  redis.call('EXPIREAT', rows, whole((day + 1 + account.row_days) * DAY_MS / 1000))
end

-- Adds up what the record was promised until now, and notes what it is promised from now on. `ask.account` is of the latter; without
-- it, that of the record holds on.
local function meter(ask, record, demand)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local before, kept = unpack(redis.call('HMGET', record, 'meter', 'account'))
  local spent = { clusters = 0, workers = 0, cores = 0, memory = 0, gpus = 0, cost = 0 }
  local account = kept and cmsgpack.unpack(kept)
  if before and account then
    before = cmsgpack.unpack(before)
    spent = before.spent
    local from = math.max(before.since, now - account.days * DAY_MS)
    while from < now do
      local day = math.floor(from / DAY_MS)
      local to = math.min(now, (day + 1) * DAY_MS)
      add_day(ask, day, account, before.rates, to - from)
      for _, measure in ipairs(MEASURES) do
        for _, part in ipairs(parts_of(measure, before.rates[measure], to - from)) do
          spent[measure] = math.min(spent[measure] + part, 2 ^ 62)
        end
      end
      from = to
    end
  end
  if ask.account then
    local prices = ask.account.prices or (account or {}).prices or { cores = 0, memory = 0, gpus = 0 }
    account = ask.account
    account.prices = prices
    redis.call('HSET', record, 'account', cmsgpack.pack(account), 'labels', account.labels)
  end
  if account then
    local rates = rates_of(demand, account.prices)
    local noted = { since = now, rates = rates, spent = spent, currency = account.currency }
    redis.call('HSET', record, 'meter', cmsgpack.pack(noted))
  end
end

