-- The indexes list a session for a margin longer than it lives, so that most saves leave them alone:
-- for this part of its lifetime, and at most for so many milliseconds. Shared.

local MARGIN_PART, MARGIN = 32, 600000
