-- Saves a new spec or targets if nobody else has saved one, the cluster is not stopping and no limit binds.
-- ask   seen (revision that the caller has read), spec (nil: as it is), targets, stop (whether it is to stop), demand, limits, charged_to,
--       resized (whether numbers of workers change), growth (nil: workers that a limit refuses may not wait; else weight, begun, groups:
--       name, had, wanted, each), route (nil: as it is; '': it has no address yet)
-- Answers {'done', revision, revision before, generation, meter, its wait (msgpack) or ''}, {'gone'}, {'ended'}, {'again'} (read again),
--       or as refusal()
local before, generation, spec_revision, report_revision, stopping = unpack(
  redis.call('HMGET', key.record, 'revision', 'generation', 'spec_revision', 'report_revision', 'stopping'))
local seen = tonumber(ask.seen)
if not before then
  return { 'gone' }
elseif stopping == '1' then
  return { 'ended' }
elseif tonumber(spec_revision) > seen or (ask.route and tonumber(report_revision) > seen) then
  return { 'again' }
end
local waits = (redis.call('HGET', key.record, 'queued_at') or '') ~= '' and not unpacked('queued').granted
local refused, granted
if waits then  -- it has no room yet; what it asks for must only be possible
  refused = impossible()
else
  refused, granted = fit()
end
if refused and not granted then
  return refused
end

local revision = written('spec', 'record')
redis.call('HSET', key.record, 'targets', ask.targets)
if ask.spec then
  redis.call('HSET', key.record, 'spec', ask.spec)
  generation = redis.call('HINCRBY', key.record, 'generation', 1)
end
if waits then
  redis.call('HSET', key.queue_wants, ask.cluster, cmsgpack.pack(ask.demand))
  promise({}, ask.charged_to)
  wake(redis.call('HGET', key.record, 'queued_at'))
else
  promise(ask.demand, ask.charged_to)
  if ask.resized then
    wait_for_workers(refused, granted)
  end
end
if ask.stop then
  begin_stop()
  dequeue()
end
if ask.route and ask.route ~= '' then
  write_route(ask.route)
end
add_events()
return { 'done', revision, before, tonumber(generation), metered(), redis.call('HGET', key.record, 'queued') or '' }
