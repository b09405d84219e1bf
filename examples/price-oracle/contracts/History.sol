// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {BN254} from "./BN254.sol";

/// @title Values and how they were at the end of past blocks
/// @dev A history is a list of checkpoints with strictly ascending block numbers; a checkpoint holds from the end of its
/// block until the next one. Changes within one block overwrite each other. Block numbers are uint32, as in EigenLayer.
library History {
    struct StakeCheckpoint {
        uint32 blockNumber;
        uint96 stake;
    }

    struct KeyCheckpoint {
        uint32 blockNumber;
        BN254.G1Point key;
    }

    function set(StakeCheckpoint[] storage history, uint96 stake) internal {
        uint256 length = history.length;
        uint32 current = uint32(block.number);
        if (length != 0 && history[length - 1].blockNumber == current) {
            history[length - 1].stake = stake;
        } else {
            history.push(StakeCheckpoint(current, stake));
        }
    }

    function set(KeyCheckpoint[] storage history, BN254.G1Point memory key) internal {
        uint256 length = history.length;
        uint32 current = uint32(block.number);
        if (length != 0 && history[length - 1].blockNumber == current) {
            history[length - 1].key = key;
        } else {
            history.push(KeyCheckpoint(current, key));
        }
    }

    /// @dev The value now; 0 before the first checkpoint.
    function latest(StakeCheckpoint[] storage history) internal view returns (uint96) {
        uint256 length = history.length;
        return length == 0 ? 0 : history[length - 1].stake;
    }

    /// @dev The value now; the point at infinity before the first checkpoint.
    function latest(KeyCheckpoint[] storage history) internal view returns (BN254.G1Point memory key) {
        uint256 length = history.length;
        if (length != 0) key = history[length - 1].key;
    }

    /// @dev The value at the end of `blockNumber`; 0 before the first checkpoint.
    function atBlock(StakeCheckpoint[] storage history, uint32 blockNumber) internal view returns (uint96) {
        // Invariant: checkpoints below `low` are at or before the block, those from `high` on are after it.
        uint256 low = 0;
        uint256 high = history.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (history[middle].blockNumber <= blockNumber) low = middle + 1;
            else high = middle;
        }
        return low == 0 ? 0 : history[low - 1].stake;
    }

    /// @dev The value at the end of `blockNumber`; the point at infinity before the first checkpoint.
    function atBlock(KeyCheckpoint[] storage history, uint32 blockNumber) internal view returns (BN254.G1Point memory key) {
        uint256 low = 0;
        uint256 high = history.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (history[middle].blockNumber <= blockNumber) low = middle + 1;
            else high = middle;
        }
        if (low != 0) key = history[low - 1].key;
    }
}
