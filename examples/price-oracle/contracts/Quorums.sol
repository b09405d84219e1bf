// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

/// @title The rule for lists of quorums: one byte each, at least one, strictly ascending
library Quorums {
    /// @notice No quorum is named.
    error NoQuorums();
    /// @notice Quorum numbers must be strictly ascending.
    error QuorumsNotAscending();

    function check(bytes memory quorumNumbers) internal pure {
        if (quorumNumbers.length == 0) revert NoQuorums();
        for (uint256 i = 1; i < quorumNumbers.length; i++) {
            if (quorumNumbers[i - 1] >= quorumNumbers[i]) revert QuorumsNotAscending();
        }
    }
}
