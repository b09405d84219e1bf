// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {OperatorRegistry} from "./OperatorRegistry.sol";
import {Owned} from "./Owned.sol";
import {Quorums} from "./Quorums.sol";

/// @title Service manager of the price oracle AVS
/// @notice Keeps tasks ("what is the price of this feed?") and their answers. A task's operators sign one response per
/// source of the feed; the median of the sources whose response reached the stake threshold becomes the price. Who submits
/// the answer does not matter: the operators' signatures are what counts, and each task is answered once.
/// @dev Signatures are checked by the registry, whose errors come through as they are (`OperatorRegistry.InvalidSignature`,
/// `NonSignersNotAscending`, ...), as do those of the curve arithmetic (`BN254.PairingFailed`, ...).
contract PriceOracle is Owned {
    /// @notice A source of a feed: a name, and the `AggregatorV3Interface` contract that operators read.
    struct Source {
        bytes32 name;
        address aggregator;
    }

    /// @notice A task, as `createTask` emits it and `respondToTask` wants it back.
    struct Task {
        uint32 index;
        bytes32 feed;
        uint32 createdBlock;
        bytes quorumNumbers;
        uint8 thresholdPercentage;
    }

    /// @notice What operators sign: what one source said. Price in the aggregator's decimals, `updatedAt` in unix seconds.
    struct Response {
        uint32 taskIndex;
        bytes32 source;
        int256 price;
        uint80 roundId;
        uint64 updatedAt;
    }

    /// @notice A response and its aggregated signature.
    struct Answer {
        Response response;
        OperatorRegistry.SignatureParams params;
    }

    struct Feed {
        uint32 minSources;
        uint64 maxAge;
        /// The newest task answered, plus 1; 0 while there is none.
        uint64 latestTaskPlusOne;
        Source[] sources;
        mapping(bytes32 name => bool) hasSource;
    }

    struct Record {
        int256 price;
        uint64 answeredAt;
        uint32 sources;
        address submitter;
    }

    /// @notice A feed was added.
    event FeedAdded(bytes32 indexed feed, uint32 minSources, uint64 maxAge, bytes32[] names, address[] aggregators);
    /// @notice A task was created; it can be answered until `responseWindowBlocks` after `task.createdBlock`.
    event TaskCreated(uint32 indexed index, Task task);
    /// @notice A task was answered with the median of `sources` sources.
    event TaskAnswered(uint32 indexed index, bytes32 indexed feed, int256 price, uint32 sources);

    /// @notice A registry is needed.
    error ZeroRegistry();
    /// @notice The threshold is a percentage from 1 to 100.
    error InvalidThreshold(uint8 thresholdPercentage);
    /// @notice The response window is at least one block: a task cannot be answered in the block that creates it.
    error InvalidWindow();
    /// @notice The feed exists already.
    error FeedExists(bytes32 feed);
    /// @notice As many aggregators as names are needed.
    error LengthMismatch(uint256 names, uint256 aggregators);
    /// @notice A feed has 1 to `MAX_SOURCES` sources and wants from 1 to all of them.
    error InvalidSources(uint32 minSources, uint256 sources);
    /// @notice A maximum age of zero would make every price stale.
    error InvalidMaxAge();
    /// @notice A source has a name and an aggregator, and its name is unique within the feed.
    error InvalidSource(bytes32 name, address aggregator);
    /// @notice There is no such feed.
    error UnknownFeed(bytes32 feed);
    /// @notice Only the owner and registered operators create tasks.
    error NotTaskCreator(address caller);
    /// @notice There is no such task.
    error UnknownTask(uint32 index);
    /// @notice The task given is not the one that was created under its index.
    error TaskMismatch(uint32 index);
    /// @notice The task has its answer.
    error AlreadyAnswered(uint32 index);
    /// @notice The task could be answered until `lastBlock`.
    error ResponseWindowClosed(uint32 index, uint256 lastBlock);
    /// @notice The feed wants more sources than these.
    error TooFewSources(uint256 sources, uint32 minSources);
    /// @notice Answers must be strictly ascending by source name.
    error AnswersNotAscending();
    /// @notice The response is to another task.
    error WrongTaskIndex(uint32 expected, uint32 given);
    /// @notice The source is not one of the feed's.
    error UnknownSource(bytes32 source);
    /// @notice A price is above zero.
    error InvalidPrice(bytes32 source, int256 price);
    /// @notice The signers of this response have too little of the quorum's stake.
    error ThresholdNotMet(bytes32 source, uint8 quorum, uint96 signedStake, uint96 totalStake);
    /// @notice No task of this feed has been answered yet.
    error NoPrice(bytes32 feed);
    /// @notice The latest price is older than the feed allows.
    error StalePrice(uint64 answeredAt, uint64 maxAge);

    /// @notice The most sources a feed may have: all of them must fit into one transaction, each with a pairing.
    uint256 public constant MAX_SOURCES = 16;

    /// @notice Whose operators answer, and who checks their signatures.
    OperatorRegistry public immutable registry;
    /// @notice How much of each quorum's stake must have signed a response, in percent.
    uint8 public immutable thresholdPercentage;
    /// @notice For how many blocks after the one that creates it a task can be answered.
    uint32 public immutable responseWindowBlocks;
    /// @notice The quorums that sign, one byte each, strictly ascending.
    bytes public quorumNumbers;
    /// @notice How many tasks there are; the index of the next one.
    uint32 public taskCount;
    /// @notice keccak256(abi.encode(task)) of each task; zero where there is none.
    mapping(uint32 index => bytes32) public taskHashes;

    mapping(bytes32 feed => Feed) private _feeds;
    mapping(uint32 index => Record) private _records;

    /// @param registry_ the operators' registry
    /// @param quorumNumbers_ the quorums that sign, strictly ascending
    /// @param thresholdPercentage_ the part of each quorum's stake that must sign, 1 to 100; at 50 or less, two different
    /// answers could both reach it
    /// @param responseWindowBlocks_ for how many blocks a task can be answered
    constructor(
        OperatorRegistry registry_,
        bytes memory quorumNumbers_,
        uint8 thresholdPercentage_,
        uint32 responseWindowBlocks_
    ) {
        if (address(registry_) == address(0)) revert ZeroRegistry();
        Quorums.check(quorumNumbers_);
        if (thresholdPercentage_ == 0 || thresholdPercentage_ > 100) revert InvalidThreshold(thresholdPercentage_);
        if (responseWindowBlocks_ == 0) revert InvalidWindow();
        registry = registry_;
        quorumNumbers = quorumNumbers_;
        thresholdPercentage = thresholdPercentage_;
        responseWindowBlocks = responseWindowBlocks_;
    }

    /// @notice Adds a feed. It cannot be changed afterwards.
    /// @param feed the feed's name, e.g. "EUR/USD" padded with zeros on the right
    /// @param minSources how many sources must have reached the threshold for a task to be answered
    /// @param maxAge for how many seconds an answer counts as the latest price
    /// @param names names of the sources, unique within the feed
    /// @param aggregators where operators read each source
    function addFeed(
        bytes32 feed,
        uint32 minSources,
        uint64 maxAge,
        bytes32[] calldata names,
        address[] calldata aggregators
    ) external onlyOwner {
        Feed storage entry = _feeds[feed];
        if (entry.minSources != 0) revert FeedExists(feed);
        if (names.length != aggregators.length) revert LengthMismatch(names.length, aggregators.length);
        if (minSources == 0 || minSources > names.length || names.length > MAX_SOURCES) {
            revert InvalidSources(minSources, names.length);
        }
        if (maxAge == 0) revert InvalidMaxAge();
        entry.minSources = minSources;
        entry.maxAge = maxAge;
        for (uint256 i = 0; i < names.length; i++) {
            if (names[i] == 0 || aggregators[i] == address(0) || entry.hasSource[names[i]]) {
                revert InvalidSource(names[i], aggregators[i]);
            }
            entry.hasSource[names[i]] = true;
            entry.sources.push(Source(names[i], aggregators[i]));
        }
        emit FeedAdded(feed, minSources, maxAge, names, aggregators);
    }

    /// @notice Asks for the price of `feed`. For the owner and registered operators.
    /// @param feed which feed
    /// @return index the task's index; indices count from 0
    function createTask(bytes32 feed) external returns (uint32 index) {
        if (msg.sender != owner && !registry.isRegistered(msg.sender)) revert NotTaskCreator(msg.sender);
        _feed(feed);
        index = taskCount++;
        Task memory task = Task(index, feed, uint32(block.number), quorumNumbers, thresholdPercentage);
        taskHashes[index] = keccak256(abi.encode(task));
        emit TaskCreated(index, task);
    }

    /// @notice Answers a task. Anyone may call it; stakes and keys count as they were at the end of the block that created
    /// the task.
    /// @param task the task, as it was emitted
    /// @param submitted one answer per source, strictly ascending by the source's name
    function respondToTask(Task calldata task, Answer[] calldata submitted) external {
        bytes32 expected = taskHashes[task.index];
        if (expected == 0) revert UnknownTask(task.index);
        if (expected != keccak256(abi.encode(task))) revert TaskMismatch(task.index);
        if (_records[task.index].answeredAt != 0) revert AlreadyAnswered(task.index);
        uint256 lastBlock = uint256(task.createdBlock) + responseWindowBlocks;
        if (block.number > lastBlock) revert ResponseWindowClosed(task.index, lastBlock);
        Feed storage feed = _feeds[task.feed];
        if (submitted.length < feed.minSources) revert TooFewSources(submitted.length, feed.minSources);

        int256[] memory prices = new int256[](submitted.length);
        bytes32 previous = 0;
        for (uint256 i = 0; i < submitted.length; i++) {
            Response calldata response = submitted[i].response;
            if (response.source <= previous) revert AnswersNotAscending();
            previous = response.source;
            if (response.taskIndex != task.index) revert WrongTaskIndex(task.index, response.taskIndex);
            if (!feed.hasSource[response.source]) revert UnknownSource(response.source);
            if (response.price <= 0) revert InvalidPrice(response.source, response.price);
            _checkStake(task, submitted[i]);
            prices[i] = response.price;
        }

        int256 price = _lowerMedian(prices);
        uint32 sources = uint32(prices.length);
        _records[task.index] = Record(price, uint64(block.timestamp), sources, msg.sender);
        // Tasks may be answered out of order; an older one never takes the place of a newer one's price.
        if (task.index >= feed.latestTaskPlusOne) feed.latestTaskPlusOne = uint64(task.index) + 1;
        emit TaskAnswered(task.index, task.feed, price, sources);
    }

    /// @notice The sources of a feed, and how many of them an answer needs.
    /// @param feed which feed
    function feedSources(bytes32 feed) external view returns (Source[] memory sources, uint32 minSources) {
        Feed storage entry = _feed(feed);
        return (entry.sources, entry.minSources);
    }

    /// @notice Whether the task has been answered.
    /// @param index the task's index
    function isAnswered(uint32 index) external view returns (bool) {
        return _records[index].answeredAt != 0;
    }

    /// @notice A task's answer; all zero while there is none.
    /// @param index the task's index
    /// @return price the median, in the aggregators' decimals
    /// @return answeredAt the block time of the answer, in unix seconds
    /// @return sources how many sources it is the median of
    /// @return submitter who sent it
    function answers(uint32 index)
        external
        view
        returns (int256 price, uint64 answeredAt, uint32 sources, address submitter)
    {
        Record storage record = _records[index];
        return (record.price, record.answeredAt, record.sources, record.submitter);
    }

    /// @notice The price of a feed from the newest task that has an answer. Reverts when there is none, or when it was
    /// answered more than the feed's maximum age ago.
    /// @param feed which feed
    /// @return price the median, in the aggregators' decimals
    /// @return answeredAt the block time of the answer, in unix seconds
    /// @return taskIndex the task it answered
    function fetchLatestAggregatedPrice(bytes32 feed)
        external
        view
        returns (int256 price, uint64 answeredAt, uint32 taskIndex)
    {
        Feed storage entry = _feed(feed);
        if (entry.latestTaskPlusOne == 0) revert NoPrice(feed);
        taskIndex = uint32(entry.latestTaskPlusOne - 1);
        Record storage record = _records[taskIndex];
        if (block.timestamp > uint256(record.answeredAt) + entry.maxAge) {
            revert StalePrice(record.answeredAt, entry.maxAge);
        }
        return (record.price, record.answeredAt, taskIndex);
    }

    /// @notice What operators sign for `response`: bound to this chain, this contract and the whole task, so that after a
    /// reorganisation that gives its index to another task the signature is worth nothing.
    /// @param response what one source said
    function responseDigest(Response calldata response) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), taskHashes[response.taskIndex], response));
    }

    function _feed(bytes32 feed) private view returns (Feed storage entry) {
        entry = _feeds[feed];
        if (entry.minSources == 0) revert UnknownFeed(feed);
    }

    /// @dev Reverts unless the answer's signature is valid and its signers reach the task's threshold in every quorum.
    function _checkStake(Task calldata task, Answer calldata answer) private view {
        (uint96[] memory signedStakes, uint96[] memory totalStakes) = registry.checkSignatures(
            responseDigest(answer.response), task.quorumNumbers, task.createdBlock, answer.params
        );
        for (uint256 i = 0; i < signedStakes.length; i++) {
            if (uint256(signedStakes[i]) * 100 < uint256(totalStakes[i]) * task.thresholdPercentage) {
                revert ThresholdNotMet(
                    answer.response.source, uint8(task.quorumNumbers[i]), signedStakes[i], totalStakes[i]
                );
            }
        }
    }

    /// @dev The middle price; of an even number the lower of the two middle ones. Sorts `prices` in place.
    function _lowerMedian(int256[] memory prices) private pure returns (int256) {
        for (uint256 i = 1; i < prices.length; i++) {
            int256 price = prices[i];
            uint256 slot = i;
            while (slot != 0 && prices[slot - 1] > price) {
                prices[slot] = prices[slot - 1];
                slot--;
            }
            prices[slot] = price;
        }
        return prices[(prices.length - 1) / 2];
    }
}
