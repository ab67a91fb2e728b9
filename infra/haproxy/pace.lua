-- Whoever asks much more often than others waits a little before each request is passed on; nothing is refused.
-- The wait grows with the excess, so that one connection settles a little above the pace and many connections share it.

local MILLISECONDS_FOR_EACH_TOO_MANY = 2
local LONGEST_WAIT = 5000

core.register_action("pace", {"http-req"}, function(txn, in_ten_seconds)
    local excess = txn.f:sc_http_req_rate(1) - tonumber(in_ten_seconds)
    if excess > 0 then
        core.msleep(math.min(LONGEST_WAIT, excess * MILLISECONDS_FOR_EACH_TOO_MANY))
    end
end, 1)
