-- In ms. The margin must be longer than a round trip. Shared.

local LEAST_MARGIN = 1000
