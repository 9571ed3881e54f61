-- Reads what subjects have used on some days, and the meters of clusters, all of one moment.
-- KEYS  used:<day> of each day, then the record of each cluster
-- ARGV  one msgpack map, `ask`: subjects, measures, days (how many)
-- Answers {seconds, microseconds, sums (msgpack), meters (each may be nil)}. The sums are {number of the subject, number of the day,
--       {amount of each measure}} for each subject and day with any.
local ask = cmsgpack.unpack(ARGV[1])
local sums, meters = {}, {}
for s, subject in ipairs(ask.subjects) do
  local fields = {}
  for m, measure in ipairs(ask.measures) do
    fields[m] = measure .. ' ' .. subject
  end
  for day = 1, ask.days do
    local amounts, any = redis.call('HMGET', KEYS[day], unpack(fields)), false
    for m, amount in ipairs(amounts) do
      any = any or amount
      amounts[m] = amount or '0'
    end
    if any then
      sums[#sums + 1] = { s - 1, day - 1, amounts }
    end
  end
end
for n = ask.days + 1, #KEYS do
  meters[n - ask.days] = redis.call('HGET', KEYS[n], 'meter')
end
local time = redis.call('TIME')
return { time[1], time[2], cmsgpack.pack(sums), meters }
