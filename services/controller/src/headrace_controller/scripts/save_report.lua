-- Saves what an agent reported and of which workers that is new, unless something newer is known.
-- ask   order (session and sequence as text that compares), seen (revision that the caller has read), report,
--       workers (by id; false: removed), route ('' while the scheduler has no address), kind ('report' if it shows people nothing
--       new, else 'record')
-- Answers {'done', revision, revision before, route version}, {'gone'}, {'ended'}, {'older'}, {'again'} (read again)
local before, order, spec_revision, report_revision, ended = unpack(
  redis.call('HMGET', key.record, 'revision', 'order', 'spec_revision', 'report_revision', 'ended'))
local seen = tonumber(ask.seen)
if not before then
  return { 'gone' }
elseif ended ~= '' then
  return { 'ended' }
elseif ask.order < order then
  return { 'older' }
elseif tonumber(report_revision) > seen or tonumber(spec_revision) > seen then
  return { 'again' }
end

local revision = written('report', ask.kind)
redis.call('HSET', key.record, 'report', ask.report, 'order', ask.order)
write_workers('report', ask.workers, revision)
if ask.route ~= '' then
  write_route(ask.route)
end
add_events()
return { 'done', revision, before, redis.call('HGET', key.record, 'route_version') }
