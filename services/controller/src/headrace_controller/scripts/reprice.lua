-- Has a cluster cost other prices from now on; what it has cost before stays.
-- ask   prices, currency
-- Answers nothing; a record that is not metered stays as it is.
local kept = redis.call('HGET', key.record, 'account')
if kept then
  ask.account = cmsgpack.unpack(kept)
  ask.account.prices, ask.account.currency = ask.prices, ask.currency
  redis.call('HSET', key.record, 'revision', announce('record'))
  meter(ask, key.record, unpacked('promised'))
end
