// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

/// @title Values and how they were at the end of past blocks
/// @dev A history is a list of checkpoints with strictly ascending block numbers; a checkpoint holds from the end of its
/// block until the next one. Changes within one block overwrite each other. Block numbers are uint32, as in EigenLayer.
/// What is larger than a stake is kept elsewhere under a version number, and the history is that of the number.
library History {
    struct Checkpoint {
        uint32 blockNumber;
        uint96 value;
    }

    function set(Checkpoint[] storage history, uint96 value) internal {
        uint256 length = history.length;
        uint32 current = uint32(block.number);
        if (length != 0 && history[length - 1].blockNumber == current) {
            history[length - 1].value = value;
        } else {
            history.push(Checkpoint(current, value));
        }
    }

    /// @dev For a history of versions: the version to write now, which is a new one unless this block has one already.
    /// Versions count from 1.
    function advance(Checkpoint[] storage history) internal returns (uint96 version) {
        uint256 length = history.length;
        uint32 current = uint32(block.number);
        if (length != 0 && history[length - 1].blockNumber == current) return history[length - 1].value;
        version = uint96(length) + 1;
        history.push(Checkpoint(current, version));
    }

    /// @dev The value now; 0 before the first checkpoint.
    function latest(Checkpoint[] storage history) internal view returns (uint96) {
        uint256 length = history.length;
        return length == 0 ? 0 : history[length - 1].value;
    }

    /// @dev The value at the end of `blockNumber`; 0 before the first checkpoint.
    function atBlock(Checkpoint[] storage history, uint32 blockNumber) internal view returns (uint96) {
        // Invariant: checkpoints below `low` are at or before the block, those from `high` on are after it.
        uint256 low = 0;
        uint256 high = history.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (history[middle].blockNumber <= blockNumber) low = middle + 1;
            else high = middle;
        }
        return low == 0 ? 0 : history[low - 1].value;
    }
}
