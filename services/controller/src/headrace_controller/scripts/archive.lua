-- Takes a record that cannot be read out of use and keeps it for an administrator. Its alias, its route and its share of the
-- limits are free. Any field may be damaged, so nothing here relies on one.
-- KEYS  and archived (hash), archived_workers (hash)
-- ask   seconds (for which it is kept)
-- Answers 1, or 0 if there is none
if redis.call('EXISTS', key.record) == 0 then
  return 0
end
add_events()
announce('removed')
pcall(dequeue)
pcall(begin_stop)
write_route('')
if not pcall(promise, {}) then
  -- The rest of its share is free once the subject has no cluster left.
  local readable, subjects = pcall(unpacked, 'charged_to')
  for _, subject in ipairs(readable and type(subjects) == 'table' and subjects or { 'users/' .. ask.owner, 'deployment' }) do
    local usage = ask.usage .. tostring(subject)
    if tonumber(redis.call('HGET', usage, 'clusters') or 0) > 0 and redis.call('HINCRBY', usage, 'clusters', -1) == 0 then
      redis.call('DEL', usage)
    end
  end
end
redis.call('ZREM', key.living, ask.cluster)
redis.call('ZREM', key.ended, ask.cluster)
redis.call('DEL', key.touched, key.events)
for from, to in pairs({ [key.record] = key.archived, [key.workers] = key.archived_workers }) do
  if redis.call('EXISTS', from) == 1 then
    redis.call('RENAME', from, to)
    redis.call('EXPIRE', to, ask.seconds)
  end
end
return 1
