// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {AggregatorV3Interface} from "./AggregatorV3Interface.sol";
import {Owned} from "./Owned.sol";

/// @title A price feed that its owner writes
/// @notice Stands for one source of a price where no Chainlink feed is: in the demo, the owner writes recorded prices.
contract PriceFeed is AggregatorV3Interface, Owned {
    struct Round {
        int256 answer;
        uint256 updatedAt;
    }

    /// @notice A new answer, in Chainlink's form.
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    /// @notice There is no such round, or none at all yet.
    error NoData(uint80 roundId);
    /// @notice The time of an answer is unix seconds: above 0 and below 2^64.
    error InvalidTimestamp(uint256 updatedAt);

    /// @inheritdoc AggregatorV3Interface
    uint8 public constant decimals = 8;
    /// @inheritdoc AggregatorV3Interface
    uint256 public constant version = 1;
    /// @inheritdoc AggregatorV3Interface
    string public description;
    /// @notice The latest round; rounds count from 1, so 0 means that there is none.
    uint80 public latestRound;

    mapping(uint80 roundId => Round) private _rounds;

    /// @param description_ what the feed is about
    constructor(string memory description_) {
        description = description_;
    }

    /// @notice Starts a new round. Times may go back: recorded prices may be played again.
    /// @param answer the price, with 8 decimals
    /// @param updatedAt when it was observed, in unix seconds
    function update(int256 answer, uint256 updatedAt) external onlyOwner {
        if (updatedAt == 0 || updatedAt > type(uint64).max) revert InvalidTimestamp(updatedAt);
        latestRound += 1;
        _rounds[latestRound] = Round(answer, updatedAt);
        emit AnswerUpdated(answer, latestRound, updatedAt);
    }

    /// @inheritdoc AggregatorV3Interface
    function getRoundData(uint80 _roundId)
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return _roundData(_roundId);
    }

    /// @inheritdoc AggregatorV3Interface
    function latestRoundData()
        external
        view
        returns (uint80 roundId, int256 answer, uint256 startedAt, uint256 updatedAt, uint80 answeredInRound)
    {
        return _roundData(latestRound);
    }

    function _roundData(uint80 roundId) private view returns (uint80, int256, uint256, uint256, uint80) {
        Round storage round = _rounds[roundId];
        if (round.updatedAt == 0) revert NoData(roundId);
        return (roundId, round.answer, round.updatedAt, round.updatedAt, roundId);
    }
}
